// What the kernel sent, as typed arrays, and the sums over a selection of steps. Runs without the kernel.

const f64 = view => new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const u8 = view => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function decode(model) {
  const header = model.get('header');
  const length = header.length;
  const flat = f64(model.get('effects'));
  const columns = header.columns.map((column, k) => ({ ...column, values: f64(model.get('columns')[k]) }));
  const effects = header.behaviors.map((_, k) => flat.subarray(k * length, (k + 1) * length));
  const byName = Object.fromEntries(columns.map(column => [column.name, column]));
  return { ...header, columns, byName, effects, sums: effects.map(runningSums) };
}

// sums[t] is the sum of the effects of the steps before t, so that any range is one subtraction.
function runningSums(effects) {
  const sums = new Float64Array(effects.length + 1);
  effects.forEach((effect, t) => (sums[t + 1] = sums[t] + (effect === effect ? effect : 0)));
  return sums;
}

// A selection: the steps start ≤ step < stop for which `mask` (bytes, one a step; absent: all) is not zero.
function chosenSteps(selection) {
  const steps = [];
  for (let t = selection.start; t < selection.stop; t++) if (!selection.mask || selection.mask[t]) steps.push(t);
  return steps;
}

function countSteps({ start, stop, mask }) {
  if (!mask) return stop - start;
  let count = 0;
  for (let t = start; t < stop; t++) if (mask[t]) count += 1;
  return count;
}

// The first-order effect is additive: the effect of a stage is the sum over its steps.
function effectOf(data, selection, behavior) {
  const effects = data.effects[behavior], sums = data.sums[behavior];
  if (!selection.mask) return sums[selection.stop] - sums[selection.start];
  let sum = 0;
  for (let t = selection.start; t < selection.stop; t++) {
    if (selection.mask[t] && effects[t] === effects[t]) sum += effects[t];
  }
  return sum;
}

function text(column, step) {
  const value = column.values[step];
  if (column.categories) return value < 0 ? '' : column.categories[value];
  return Number.isNaN(value) ? '' : number(value);
}

function number(value, sign = false) {
  if (!Number.isFinite(value)) return '';
  const size = Math.abs(value);
  let shown;
  if (Number.isInteger(value) && size < 1e9) shown = String(value);
  else if (size !== 0 && (size < 1e-3 || size >= 1e6)) shown = value.toExponential(2);
  else shown = String(Number(value.toPrecision(4)));
  shown = shown.replace('-', '−');
  return sign && value > 0 ? `+${shown}` : shown;
}

// One line for each column: the range of a number, the most frequent of names.
function summary(data, steps) {
  return data.columns.map(column => {
    if (!column.categories) {
      let low = Infinity, high = -Infinity;
      for (const t of steps) {
        const value = column.values[t];
        if (value < low) low = value;
        if (value > high) high = value;
      }
      if (low > high) return [column.name, 'not recorded'];
      return [column.name, low === high ? number(low) : `${number(low)} to ${number(high)}`];
    }
    const counts = new Map();
    for (const t of steps) counts.set(column.values[t], (counts.get(column.values[t]) || 0) + 1);
    const most = [...counts].sort((a, b) => b[1] - a[1]);
    const shown = most.slice(0, 3).map(([code, n]) => `${code < 0 ? '(none)' : column.categories[code] || '(empty)'} × ${n}`);
    return [column.name, shown.join(', ') + (most.length > 3 ? `, ${most.length - 3} more` : '')];
  });
}

// The selection in the words of the language; the kernel writes the same text.
function selectionText(data, view) {
  const whole = view.start <= 0 && view.stop >= data.length;
  const steps = whole ? 'steps' : `steps[${view.start}:${view.stop}]`;
  return view.where.trim() ? `${steps} where ${view.where.trim()}` : steps;
}
