// Colors of steps, all from the palette of the charts: of names, and of numbers between small and large ones.

const channels = color => [1, 3, 5].map(place => parseInt(color.slice(place, place + 2), 16));

// Return the color at this share of the way through `colors`, each [red, green, blue].
function ramp(share, colors) {
  const place = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
  const k = Math.min(Math.floor(place), colors.length - 2);
  return `rgb(${colors[k].map((low, c) => Math.round(low + (colors[k + 1][c] - low) * (place - k))).join(',')})`;
}

const LEGEND = 12; // names that a legend shows, those that share a color among them
const LABEL = 32; // letters of each

// Return {color(step), legend: [{label, paint, stage, condition}]} for one column; a stage or a condition can be selected.
function coloring(data, name) {
  const column = data.byName.get(name);
  if (!column) return { color: () => data.palette.none, legend: [] };
  return column.categories ? coloredByName(data, column) : coloredByNumber(data, column);
}

// The first names have a color of their own; those beyond the palette share one, and none of them has that of no stage.
function coloredByName(data, column) {
  const { stages, more, none } = data.palette;
  const named = column.categories.filter(category => category !== data.none);
  const paints = new Map(named.map((category, k) => [category, stages[k] || more]));
  const colors = column.categories.map(category => paints.get(category) || none);
  const item = (category, paint) => ({
    label: short(category, LABEL) || '(empty)', name: category, paint,
    condition: column.conditions[column.categories.indexOf(category)] || '',
    stage: column.name === 'stage' && data.byStage.has(category) ? category : ''
  });
  const own = named.slice(0, stages.length), rest = named.slice(stages.length);
  const legend = own.map(category => item(category, paints.get(category)));
  if (rest.length) legend.push({ label: `${rest.length} more`, paint: more });
  legend.push(...rest.slice(0, LEGEND - own.length).map(category => item(category))); // they can be selected, too
  if (named.length < column.categories.length) legend.push(item(data.none, none));
  return { color: step => colors[column.values[step]] || none, legend };
}

function coloredByNumber(data, column) {
  let low = Infinity, high = -Infinity;
  for (const value of column.values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const share = value => (high > low ? (value - low) / (high - low) : 0.5);
  const { none } = data.palette;
  const numbers = data.palette.numbers.map(channels);
  const paint = value => ramp(share(value), numbers);
  const color = step => (Number.isNaN(column.values[step]) ? none : paint(column.values[step]));
  const legend = low <= high ? [low, (low + high) / 2, high].map(v => ({ label: number(v), paint: paint(v) })) : [];
  return { color, legend };
}

// What is selected by a click on a legend; a second click gives it up.
function legendOf(coloring, view, pick) {
  return coloring.legend.map(({ label, name, paint, stage, condition }) => {
    const content = paint ? [h('i', { style: `background: ${paint}` }), label] : [label];
    if (!stage && !condition) return h('span', { title: name || '' }, ...content);
    const active = stage ? view.stage === stage : view.where.trim() === condition;
    const picked = stage ? { stage: active ? '' : stage } : { where: active ? '' : condition };
    return h('button', { 'aria-pressed': String(active), title: `select the steps of ${name}`, onclick: () => pick(picked) }, ...content);
  });
}
