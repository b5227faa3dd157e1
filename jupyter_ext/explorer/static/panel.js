// What is said about a selection: its effects, the metadata of its steps, the statement that defines it.

// `sign` is −1 for behaviors of which less is better; `known` says how far the number can be trusted, and why.
function effectCell(value, sign, known) {
  const meaning = value * sign > 0 ? 'helped' : value * sign < 0 ? 'hurt' : '';
  const doubt = known?.trust === 'low' ? 'aadsl-doubted' : '';
  return h('td', { class: `aadsl-number ${meaning && `aadsl-${meaning}`} ${doubt}`.trim() },
    `${number(value, true)} ${meaning}`.trim(), trustNote(known));
}

function trustNote(known) {
  return known?.trust ? h('small', { class: 'aadsl-trust', title: known.reason }, ` ${known.trust} trust`) : null;
}

function effectsTable(data, view, selection, exact) {
  const kept = view.kept;
  const known = exact?.key === selectionText(data, view) ? exact.effects : null;
  const header = ['behavior', 'final model', 'effect of selection', known && 'exact', kept && 'effect of B', kept && 'selection − B'];
  const rows = view.behaviors.map(name => {
    const k = data.behaviors.findIndex(behavior => behavior.name === name);
    const effect = effectOf(data, selection, k);
    const { unit, observed, sign } = data.behaviors[k];
    const other = kept?.effects[name];
    return [
      h('th', { scope: 'row' }, name, unit ? h('small', {}, ` ${unit}`) : null),
      h('td', { class: 'aadsl-number' }, number(observed)),
      effectCell(effect, sign, data.behaviors[k]),
      known && effectCell(known[name], sign, exact.trust?.[name]),
      kept && (other === undefined ? h('td', {}) : effectCell(other, sign)),
      kept && (other === undefined ? h('td', {}) : h('td', { class: 'aadsl-number' }, number(effect - other, true)))
    ].filter(Boolean);
  });
  return table(header.filter(Boolean), rows);
}

function metadataTable(data, steps) {
  return table(['of these steps', ''], summary(data, steps).map(([name, said]) => [h('th', { scope: 'row' }, name), said]));
}

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

// The steps of the selection with all that is known of them, sorted by a column; a click on its head turns the order.
function stepsTable(data, view, selection, sortBy) {
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
    return h('th', { scope: 'col', 'aria-sort': sort }, h('button', { onclick: () => sortBy(column.name) }, column.name + arrow));
  });
  const cell = (column, t) => {
    if (!column.values) return h('td', { class: 'aadsl-number' }, String(t));
    return effects.includes(column) ? effectCell(column.values[t], column.sign) : h('td', { class: column.categories ? '' : 'aadsl-number' }, text(column, t));
  };
  const rows = firstOf(orderOf(data, chosen, view.sort.descending), selection, SHOWN).map(t => columns.map(column => cell(column, t)));
  const size = countSteps(selection);
  const more = size > SHOWN ? h('p', {}, `the first ${SHOWN} of ${size.toLocaleString('en')} steps`) : null;
  return h('div', {}, table(head, rows), more);
}
