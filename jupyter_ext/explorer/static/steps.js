// The steps of a selection one by one, in the order of a column.

const SHOWN = 100;

// All steps in the order of a column; sorted once, not at every move of the brush. What has no value comes last.
function orderOf(data, column, descending) {
  data.orders ??= new Map();
  const key = `${column.name} ${descending}`;
  if (!data.orders.has(key)) {
    const value = sortKey(column), sign = descending ? -1 : 1;
    const steps = Uint32Array.from({ length: data.length }, (_, t) => t);
    data.orders.set(key, steps.sort((a, b) => {
      const x = value(a), y = value(b);
      if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b;
      return sign * (x - y) || a - b;
    }));
  }
  return data.orders.get(key);
}

function sortKey({ values, categories }) {
  if (!values) return t => t;
  if (!categories) return t => values[t];
  const rank = new Map([...categories].sort((a, b) => a.localeCompare(b)).map((name, k) => [name, k]));
  return t => rank.get(categories[values[t]]) ?? NaN;
}

function firstOf(order, { start, stop, mask }, most) {
  const found = [];
  for (let k = 0; k < order.length && found.length < most; k++) {
    const t = order[k];
    if (t >= start && t < stop && (!mask || mask[t])) found.push(t);
  }
  return found;
}

// A step that is selected alone when it is clicked.
function stepButton(step, drill, ...more) {
  return h('button', { class: 'aadsl-step', onclick: () => drill(step), title: 'select this step alone' }, String(step), ...more);
}

// The steps of a selection that hurt a behavior most, the worst first.
function worstSteps(effects, sign, selection, most) {
  const worst = [];
  for (let t = selection.start; t < selection.stop; t++) {
    const value = effects[t] * sign;
    if (!(value < 0) || (selection.mask && !selection.mask[t])) continue;
    if (worst.length === most && value >= effects[worst[most - 1]] * sign) continue;
    const place = worst.findIndex(other => value < effects[other] * sign);
    worst.splice(place < 0 ? worst.length : place, 0, t);
    worst.length = Math.min(worst.length, most);
  }
  return worst;
}

// The steps of the selection with all that is known of them, sorted by a column; a click on its head turns the order.
function stepsTable(data, view, selection, sortBy, drill) {
  const effects = view.behaviors.map(name => ({
    name: `effect on ${name}`,
    values: data.effects[data.behaviors.findIndex(b => b.name === name)],
    sign: data.behaviors.find(b => b.name === name).sign
  }));
  const columns = [{ name: 'step', values: null }, ...effects, ...data.columns];
  const chosen = columns.find(column => column.name === view.sort.column) || columns[0];
  const head = columns.map(column => {
    const active = column === chosen;
    const arrow = active ? (view.sort.descending ? ' ↓' : ' ↑') : '';
    const sort = active ? (view.sort.descending ? 'descending' : 'ascending') : 'none';
    return h('th', { scope: 'col', 'aria-sort': sort }, h('button', { onclick: () => sortBy(column.name) }, short(column.name, 30) + arrow));
  });
  const cell = (column, t) => {
    if (!column.values) return h('td', { class: 'aadsl-number' }, stepButton(t, drill));
    return effects.includes(column) ? effectCell(column.values[t], column.sign) : h('td', { class: column.categories ? '' : 'aadsl-number' }, text(column, t));
  };
  const rows = firstOf(orderOf(data, chosen, view.sort.descending), selection, SHOWN).map(t => columns.map(column => cell(column, t)));
  const size = countSteps(selection);
  const more = size > SHOWN ? h('p', {}, `the first ${SHOWN} of ${size.toLocaleString('en')} steps`) : null;
  return h('div', {}, table(head, rows), more);
}
