// Colors of steps: names from the palette of the charts, numbers from a ramp that grows lighter.

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function ramp(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const k = Math.min(Math.floor(place), RAMP.length - 2);
  const mix = RAMP[k].map((low, c) => Math.round(low + (RAMP[k + 1][c] - low) * (place - k)));
  return `rgb(${mix.join(',')})`;
}

// Return {color(step), legend: [[name, color]]} for one column.
function coloring(data, name) {
  const column = data.byName[name];
  if (!column) return { color: () => data.palette.none, legend: [] };
  if (column.categories) {
    const colors = column.categories.map((category, k) =>
      category === data.none ? data.palette.none : data.palette.stages[k % data.palette.stages.length]
    );
    const color = step => colors[column.values[step]] || data.palette.none;
    return { color, legend: column.categories.slice(0, 12).map((category, k) => [category || '(empty)', colors[k]]) };
  }
  let low = Infinity, high = -Infinity;
  for (const value of column.values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const share = value => (high > low ? (value - low) / (high - low) : 0.5);
  const color = step => (Number.isNaN(column.values[step]) ? data.palette.none : ramp(share(column.values[step])));
  const legend = low <= high ? [low, (low + high) / 2, high].map(v => [number(v), ramp(share(v))]) : [];
  return { color, legend };
}
