// The explorer: puts the parts together and keeps them in step with the view.

const MARKER = 'aadsl-explorer';
const AGAIN = 'run the cell again'; // what brings back a kernel that knows this explorer
const MANY = 20000; // steps whose metadata take longer to describe than a drag may wait
const MOST_KEPT = 6;

function send(model, message) {
  try {
    model.send(message);
  } catch {
    // Without a kernel the picture and the sums still work; what needs the kernel does not answer.
  }
}

function render({ model, el }) {
  const data = decode(model);
  const view = structuredClone(model.get('view'));
  const root = h('div', { class: 'aadsl-explorer', role: 'group', 'aria-label': 'explorer of training steps' });
  el.append(root);
  keepKeys(root);
  const kernel = kernelOf(model, () => update());
  const selection = () => selectionOf(data, model, view);
  const save = debounced(250, () => {
    model.set('view', structuredClone(view));
    model.save_changes();
  });
  const still = debounced(1200, () => send(model, { kind: 'still' }));

  // --- parts that stay

  const panels = h('div', { class: 'aadsl-panels' });
  const legend = h('div', { class: 'aadsl-legend' });
  const effects = h('div', { class: 'aadsl-effects' });
  const metadata = h('div', { class: 'aadsl-metadata' });
  const count = h('span', { class: 'aadsl-count', 'aria-live': 'polite' });
  const steps = h('div', { class: 'aadsl-steps' });
  const details = h('details', { ontoggle: () => update() }, h('summary', {}, 'The steps one by one'), steps);
  const where = whereBox(model, kernel, () => view, condition => pick({ where: condition.trim() }));
  const naming = namingBox(model, kernel, data, view, () => update());
  const exact = exactBox(model, kernel, data, view);
  const examples = examplesBox(model, kernel, data, view, { drill, back: { possible: () => trail.length > 0, go: goBack } });
  const ofSteps = asking(model, 'step', 'step', step => hovers.forEach(show => show(step)));
  const strips = stripsOf(data);
  for (const { strip } of strips) moves(strip);
  const overview = new Overview(data, zoom);
  const controls = controlsOf(data, view, { pick, select, zoom, rebuild, keep });

  // --- changes

  let timelines = [], hovers = [], trail = [], scheduled = false, colored;

  function select(start, stop) {
    Object.assign(view, { start, stop });
    update();
  }
  // Change the stage or the condition of the selection.
  function pick(change) {
    Object.assign(view, change);
    if ('where' in change) {
      send(model, { kind: 'where', text: view.where });
      where.set(view.where);
    }
    update();
  }
  function update() {
    if (!scheduled) requestAnimationFrame(draw);
    scheduled = true;
  }
  function draw() {
    scheduled = false;
    hideStill(el); // only now is it sure to be part of the page
    const chosen = selection(), size = countSteps(chosen);
    for (const timeline of timelines) timeline.draw(view, chosen, colored.color);
    for (const { strip } of strips) strip.draw(view);
    overview.draw(view, data.behaviors.findIndex(({ name }) => name === view.behaviors[0]));
    fill(legend, ...legendOf(colored, view, pick));
    fill(effects, effectsTable(data, view, chosen, model.get('answers'), { recall, forget }));
    (size > MANY ? describeSoon : describe)();
    const whole = data.length.toLocaleString('en');
    count.textContent = !chosen.known ? (kernel.alive() ? '…' : AGAIN) : `${size.toLocaleString('en')} of ${whole} steps`;
    controls.show();
    where.show();
    naming.show();
    exact.follow();
    examples.follow();
    if (details.open) listSoon();
    save();
    still();
  }
  function describe() {
    fill(metadata, metadataTable(data, selection()));
  }
  const describeSoon = debounced(100, describe);
  // A hundred rows are more than a drag may wait for: they follow when it rests.
  const listSoon = debounced(60, () => fill(steps, stepsTable(data, view, selection(), sortBy, drill)));
  function sortBy(column) {
    view.sort = { column, descending: view.sort.column === column ? !view.sort.descending : true };
    update();
  }
  function rebuild() {
    colored = coloring(data, view.color);
    timelines = [];
    hovers = [];
    panels.replaceChildren(...view.behaviors.map(behavior => {
      const k = data.behaviors.findIndex(known => known.name === behavior);
      const canvas = h('canvas', { tabindex: '0', role: 'img', 'aria-label': `effects of the steps on ${behavior}; arrow keys move the selection` });
      const timeline = new Timeline(canvas, data, k, squeezedOf(data, view, k));
      timelines.push(timeline);
      moves(timeline);
      hovers.push(hover(canvas, timeline, data, { ...ofSteps, ask: data.can_retrain && kernel.alive() ? ofSteps.ask : () => {} }));
      const { unit, sign } = data.behaviors[k];
      const [good, bad] = sign > 0 ? ['helped', 'hurt'] : ['hurt', 'helped'];
      return h('figure', {}, h('figcaption', {}, `Effect of every step on ${short(behavior)}${unit ? ` (${unit})` : ''}: above zero it ${good}, below it ${bad}`, trustNote(data.behaviors[k]), axisNote(timeline.squeezed)), canvas);
    }));
    update();
  }
  // What can be done on every canvas over the steps.
  function moves(canvas) {
    brush(canvas, () => view, select);
    wheel(canvas, () => view, zoom);
  }
  function zoom(from, to) {
    Object.assign(view, { from, to });
    update();
  }
  function keep() {
    const chosen = selection(), text = selectionText(data, view);
    if (chosen.empty || !chosen.known || view.kept.length >= MOST_KEPT || view.kept.some(kept => kept.text === text)) return;
    const letter = 'ABCDEF'.split('').find(free => view.kept.every(kept => kept.letter !== free));
    const { start, stop, stage, where: condition } = view;
    view.kept.push({ letter, text, start, stop, stage, where: condition, estimates: data.behaviors.map((_, k) => effectOf(data, chosen, k)) });
    update();
  }
  // From a stage to one of its steps, and back.
  function drill(step) {
    const { start, stop, stage, where: condition } = view;
    trail.push({ start, stop, stage, where: condition });
    recall({ start: step, stop: step + 1, stage: '', where: '' });
  }
  function goBack() {
    recall(trail.pop());
  }
  function recall({ start, stop, stage, where: condition }) {
    Object.assign(view, { start, stop });
    pick({ stage, where: condition });
  }
  function forget(kept) {
    view.kept = view.kept.filter(other => other !== kept);
    update();
  }

  root.append(
    controls.top, legend, panels, ...strips.map(({ figure }) => figure), overview.canvas, h('div', { class: 'aadsl-bar' }, ...controls.range, count, ...controls.buttons), where.box, naming.box,
    h('div', { class: 'aadsl-columns' }, h('div', {}, effects, exact.box), metadata),
    examples.box, details
  );
  const unlink = linked(el, data, stage => recall({ start: 0, stop: 0, stage, where: '' }));
  model.on('change:mask', update);
  model.on('change:where', update);
  model.on('change:answers', update);
  const resized = new ResizeObserver(update);
  resized.observe(root);
  // A canvas follows no theme by itself: it is drawn when its color has arrived, which no transition tells of where none
  // ran to its end, and so a while after the theme was called another, too.
  const themed = new MutationObserver(debounced(400, update));
  themed.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name', 'class'] });
  root.addEventListener('transitionend', event => event.target === root && update());
  if (data.keep) keepWhenSaved(model.widget_manager, MARKER);
  rebuild();
  return () => {
    resized.disconnect();
    themed.disconnect();
    unlink();
    for (const part of [where, naming, exact, examples, ofSteps, kernel]) part.close();
    for (const change of ['mask', 'where', 'answers']) model.off(`change:${change}`, update);
  };
}
