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

function axisNote(squeezed) {
  return squeezed ? h('small', { class: 'aadsl-trust', title: squeezed.words }, ' logarithmic axis') : null;
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
    h('button', { onclick: () => recall(kept), 'aria-label': `select ${kept.text} again` }, `${kept.letter}: ${short(kept.text, LABEL)}`),
    h('button', { onclick: () => forget(kept), 'aria-label': `forget ${kept.letter}` }, '×'));
  const header = ['behavior', 'final model', 'effect of selection', ...view.kept.map(letter)];
  const rows = view.behaviors.map(name => {
    const k = data.behaviors.findIndex(behavior => behavior.name === name);
    const behavior = data.behaviors[k];
    const now = selection.empty || !selection.known ? h('td', {}, '—') : bestCell(behavior, effectOf(data, selection, k), answer);
    return [
      h('th', { scope: 'row', title: name }, short(name, 40), behavior.unit ? h('small', {}, ` ${behavior.unit}`) : null),
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
  return table([all ? 'of all steps' : 'of these steps', ''], summary(data, steps).map(([name, said]) => [h('th', { scope: 'row' }, short(name)), said]));
}
