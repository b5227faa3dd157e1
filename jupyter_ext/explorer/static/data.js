// What the kernel sent, as typed arrays, and the sums over a selection of steps. Runs without the kernel.

const NUMBERS = { '|i1': Int8Array, '<i2': Int16Array, '<i4': Int32Array, '<f4': Float32Array, '<f8': Float64Array };
const u8 = view => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const numbers = (type, view) => new NUMBERS[type](view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function decode(model) {
  const header = model.get('header'), length = header.length, stored = model.get('columns');
  const flat = numbers(header.type, model.get('effects'));
  const columns = header.columns.map((column, k) => ({ ...column, values: numbers(column.type, stored[k]) }));
  const effects = header.behaviors.map((_, k) => flat.subarray(k * length, (k + 1) * length));
  return {
    ...header, columns, effects, sums: effects.map(runningSums), members: u8(stored[columns.length]),
    byName: new Map(columns.map(column => [column.name, column])), // a name may be what every object has
    byStage: new Map(header.stages.map((stage, k) => [stage.name, { ...stage, k }])),
    byCondition: new Map(columns.flatMap(column =>
      (column.conditions || []).map((condition, code) => [condition, { column, code }]).filter(([condition]) => condition)))
  };
}

// How the axis of a behavior is squeezed, if it is, and the reader did not ask for lengths as they are.
function squeezedOf(data, view, behavior) {
  return view.linear ? null : data.behaviors[behavior].squeezed;
}

// sums[t] is the sum of the effects of the steps before t, so that any range is one subtraction.
function runningSums(effects) {
  const sums = new Float64Array(effects.length + 1);
  effects.forEach((effect, t) => (sums[t + 1] = sums[t] + (effect === effect ? effect : 0)));
  return sums;
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
  if (column.categories) return value < 0 ? '' : short(column.categories[value]);
  return Number.isNaN(value) ? '' : number(value);
}

function number(value, sign = false) {
  if (!Number.isFinite(value)) return '';
  const size = Math.abs(value);
  let shown;
  if (Number.isInteger(value) && size < 1e9) shown = String(value);
  else if (size !== 0 && (size < 1e-3 || size >= 1e6)) shown = value.toExponential(2);
  else shown = String(Number(value.toPrecision(4)));
  shown = shown.replaceAll('-', '−');
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
    const shown = most.slice(0, 3).map(([code, n]) => `${code < 0 ? '(none)' : short(column.categories[code]) || '(empty)'} × ${n}`);
    return [column.name, shown.join(', ') + (most.length > 3 ? `, ${most.length - 3} more` : '')];
  });
}
