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

// What is known exactly of the effects of a selection, by its text.
function answerOf(answers, text) {
  return answers && Object.hasOwn(answers, text) ? answers[text] : null;
}

// The effect of one selection on one behavior: exact where that is known, and marked so; else the estimate.
function bestCell(behavior, estimate, answer) {
  if (answer && Object.hasOwn(answer.effects, behavior.name)) {
    const cell = effectCell(answer.effects[behavior.name], behavior.sign, answer.trust[behavior.name]);
    cell.append(' ', h('small', { class: 'aadsl-exactly' }, '✓ exact'));
    cell.title = `${answer.words}; the estimate was ${number(estimate, true)}`;
    return cell;
  }
  const cell = effectCell(estimate, behavior.sign, behavior);
  if (cell.textContent) cell.append(' ', h('small', {}, 'estimate'));
  return cell;
}

// One row a behavior, one column a selection: the one that is made, and those that were kept. `recall` and `forget` are
// called with a kept one.
function effectsTable(data, view, selection, answers, { recall, forget }) {
  const text = selectionText(data, view), answer = answerOf(answers, text);
  const letter = kept => h('th', { scope: 'col', title: kept.text },
    h('button', { onclick: () => recall(kept), 'aria-label': `select ${kept.text} again` }, `${kept.letter}: ${kept.text}`),
    h('button', { onclick: () => forget(kept), 'aria-label': `forget ${kept.letter}` }, '×'));
  const header = ['behavior', 'final model', 'effect of selection', ...view.kept.map(letter)];
  const rows = view.behaviors.map(name => {
    const k = data.behaviors.findIndex(behavior => behavior.name === name);
    const behavior = data.behaviors[k];
    const now = selection.empty || !selection.known ? h('td', {}, '—') : bestCell(behavior, effectOf(data, selection, k), answer);
    return [
      h('th', { scope: 'row' }, name, behavior.unit ? h('small', {}, ` ${behavior.unit}`) : null),
      h('td', { class: 'aadsl-number' }, number(behavior.observed)),
      now,
      ...view.kept.map(kept => bestCell(behavior, kept.estimates[k], answerOf(answers, kept.text)))
    ];
  });
  return table(header, rows);
}

// Of the selected steps; of all where none are.
function metadataTable(data, selection) {
  const all = selection.empty || !selection.known;
  const steps = chosenSteps(all ? { start: 0, stop: data.length, mask: null } : selection);
  return table([all ? 'of all steps' : 'of these steps', ''], summary(data, steps).map(([name, said]) => [h('th', { scope: 'row' }, name), said]));
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
