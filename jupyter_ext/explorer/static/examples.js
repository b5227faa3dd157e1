// The examples of the selected steps: the worst by loss, their labels beside the whole run's, and the worst steps, each of
// which can be selected alone. The kernel finds them.

const WORST_STEPS = 6;
const REMEMBERED = 30;

// What the kernel said, the newest answers of each kind; an answer that is not there is asked for.
function asking(model, kind, key, found) {
  const known = new Map();
  const receive = message => {
    if (message.kind !== kind) return;
    known.set(message[key], message.found);
    if (known.size > REMEMBERED) known.delete(known.keys().next().value);
    found(message[key]);
  };
  model.on('msg:custom', receive);
  return { known, ask: more => send(model, { kind, ...more }), close: () => model.off('msg:custom', receive) };
}

function exampleFigure({ picture, text, label, number: place, loss, step }, drill) {
  const said = [loss === undefined || loss === null ? '' : `loss ${number(loss)}`, label && `label ${label}`, place && `example ${place}`];
  const lines = said.filter(Boolean).map(line => short(line, 40));
  const look = picture ? h('img', { src: picture, alt: lines.join(', ') || 'an example' }) : h('q', { title: text || '' }, text || '?');
  return h('figure', { class: 'aadsl-example' }, look, h('figcaption', {}, ...lines.map(line => h('div', {}, line)), drill ? h('div', {}, 'step ', stepButton(step, drill)) : null));
}

function labelsTable({ name, counts, more, run }, uses) {
  const share = (count, of) => (of ? `${count.toLocaleString('en')} (${Math.round((100 * count) / of)}%)` : '');
  const cell = said => h('td', { class: 'aadsl-number' }, said);
  const rows = counts.map(([label, here, all]) => [h('th', { scope: 'row' }, short(label, 30)), cell(share(here, uses)), cell(share(all, run))]);
  return h('div', {}, table([name, 'these steps', 'whole run'], rows), more > 0 ? h('p', {}, `${more} more`) : null);
}

function examplesBox(model, kernel, data, view, { drill, back }) {
  const box = h('div', { class: 'aadsl-examples' });
  const steps = h('div', { class: 'aadsl-bar' });
  const answers = asking(model, 'examples', 'key', key => key === selectionText(data, view) && show());
  let asked = '';
  const rest = debounced(RESTS, () => answers.ask({ view: structuredClone(view) }));

  function looked({ examples, looked: among, uses, why, labels }) {
    const of = among < uses ? ` of ${among.toLocaleString('en')} that were looked at` : '';
    const worst = h('div', {}, h('h4', {}, why ? 'Examples' : `Examples with the largest loss of the final model${of}`),
      why ? h('p', {}, why) : null, h('div', { class: 'aadsl-gallery' }, ...examples.map(one => exampleFigure(one, drill))));
    return h('div', { class: 'aadsl-beside' }, worst, labels.name ? h('div', {}, h('h4', {}, 'Labels'), labelsTable(labels, uses)) : null);
  }
  function show() {
    const text = selectionText(data, view), found = answers.known.get(text), selection = selectionOf(data, model, view);
    if (!text) return fill(box);
    if (found) fill(box, found.missing ? h('p', {}, `no examples: ${found.missing}`) : looked(found));
    else fill(box, h('p', {}, !kernel.alive() ? `${AGAIN} to see the examples of these steps` : !data.can_retrain ? '' : 'finding the examples of these steps …'));
    showSteps(selection);
  }
  function showSteps(selection) {
    const behavior = data.behaviors.findIndex(({ name }) => name === view.behaviors[0]);
    const { name, sign } = data.behaviors[behavior], effects = data.effects[behavior];
    const worst = selection.known ? worstSteps(effects, sign, selection, WORST_STEPS) : [];
    const many = countSteps(selection) > 1;
    fill(steps, back.possible() ? h('button', { onclick: back.go }, '← back') : null,
      ...(many && worst.length ? [`steps that hurt ${short(name, LABEL)} most: `, ...worst.map(t => stepButton(t, drill, ` ${number(effects[t], true)}`))] : []));
  }
  const showSoon = debounced(60, show);
  // Called whenever the view may have changed.
  function follow() {
    const text = selectionText(data, view);
    if (text !== asked && text && kernel.alive() && data.can_retrain && !answers.known.has(text)) rest();
    asked = text;
    showSoon();
  }
  return { box: h('div', {}, steps, box), follow, close: answers.close };
}
