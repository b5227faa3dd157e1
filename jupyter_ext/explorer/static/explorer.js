// The explorer: puts the parts together and keeps them in step with the view.

const MARKER = 'aadsl-explorer';
const EDGES = ['start', 'stop'];
const MANY = 20000; // steps whose metadata take longer to describe than a drag may wait

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
  const mask = () => {
    const bytes = model.get('mask');
    return view.where.trim() && bytes?.byteLength === data.length ? u8(bytes) : null;
  };
  const selection = () => ({ start: view.start, stop: view.stop, mask: mask() });
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
  const statement = h('code', { class: 'aadsl-statement' });
  const said = h('span', { class: 'aadsl-said', role: 'status' });
  const exact = h('span', { class: 'aadsl-exact' });
  const steps = h('div', { class: 'aadsl-steps' });
  const details = h('details', { ontoggle: () => update() }, h('summary', {}, 'The steps one by one'), steps);
  const bounds = EDGES.map(edge => h('input', {
    type: 'number', min: '0', max: String(data.length), 'aria-label': `${edge} of the selection`,
    onkeydown: event => event.stopPropagation(),
    onchange: event => {
      const value = Math.min(Math.max(Number(event.target.value) || 0, 0), data.length);
      if (edge === 'start') select(Math.min(value, view.stop - 1), view.stop);
      else select(view.start, Math.max(value, view.start + 1));
      event.target.value = view[edge];
    }
  }));
  const name = h('input', {
    type: 'text', size: '10', 'aria-label': 'name of the stage', spellcheck: 'false',
    onkeydown: event => event.stopPropagation(),
    oninput: event => {
      view.name = event.target.value;
      update();
    }
  });
  name.value = view.name;

  // --- changes

  let timelines = [], scheduled = false, color;
  const sentence = () => `stage ${view.name || 'picked'} = ${selectionText(data, view)}`;
  const program = () => `%%aascore\n${sentence()}\nscore ${view.name || 'picked'} on ${view.behaviors.join(', ')}${data.under}`;

  function select(start, stop) {
    Object.assign(view, { start, stop });
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
    for (const timeline of timelines) timeline.draw(view, chosen, view.kept, color);
    fill(effects, effectsTable(data, view, chosen, model.get('exact')));
    (size > MANY ? describeSoon : describe)();
    count.textContent = `${size.toLocaleString('en')} of ${data.length.toLocaleString('en')} steps`;
    statement.textContent = sentence();
    for (const [k, edge] of EDGES.entries()) {
      if (bounds[k] !== document.activeElement) bounds[k].value = view[edge]; // never over what is being typed
    }
    if (details.open) listSoon();
    save();
    still();
  }
  function describe() {
    fill(metadata, metadataTable(data, chosenSteps(selection())));
  }
  const describeSoon = debounced(100, describe);
  // A hundred rows are more than a drag may wait for: they follow when it rests.
  const listSoon = debounced(60, () => fill(steps, stepsTable(data, view, selection(), sortBy)));
  function sortBy(column) {
    view.sort = { column, descending: view.sort.column === column ? !view.sort.descending : true };
    update();
  }
  function rebuild() {
    const colored = coloring(data, view.color);
    color = colored.color;
    fill(legend, ...colored.legend.map(([label, paint]) =>
      h('span', {}, h('i', { style: `background: ${paint}` }), label)));
    timelines = [];
    fill(panels, ...view.behaviors.map(behavior => {
      const k = data.behaviors.findIndex(known => known.name === behavior);
      const canvas = h('canvas', { tabindex: '0', role: 'img', 'aria-label': `effects of the steps on ${behavior}; arrow keys move the selection` });
      const timeline = new Timeline(canvas, data, k);
      timelines.push(timeline);
      brush(timeline, () => view, select);
      hover(canvas, timeline, data);
      const { unit, sign } = data.behaviors[k];
      const [good, bad] = sign > 0 ? ['helped', 'hurt'] : ['hurt', 'helped'];
      return h('figure', {}, h('figcaption', {}, `Effect of every step on ${behavior}${unit ? ` (${unit})` : ''}: above zero it ${good}, below it ${bad}`, trustNote(data.behaviors[k])), canvas);
    }));
    update();
  }
  function tell(words) {
    said.textContent = words;
    setTimeout(() => (said.textContent = ''), 3000);
  }
  function zoom(from, to) {
    Object.assign(view, { from, to });
    update();
  }
  function keep() {
    const chosen = selection();
    const kept = Object.fromEntries(data.behaviors.map((b, k) => [b.name, effectOf(data, chosen, k)]));
    view.kept = view.kept ? null : { start: view.start, stop: view.stop, text: selectionText(data, view), effects: kept };
    buttons.keep.textContent = view.kept ? 'Forget B' : 'Keep as B to compare';
    update();
  }

  // --- controls

  const buttons = {
    copy: h('button', { onclick: () => copy(sentence()).then(() => tell('copied')) }, 'Copy'),
    cell: h('button', { onclick: () => {
      if (insertCell(model.widget_manager, el, program())) tell('new cell below');
      else copy(program()).then(() => tell('copied: paste it into a new cell'));
    } }, 'New cell'),
    keep: h('button', { onclick: keep }, view.kept ? 'Forget B' : 'Keep as B to compare'),
    exact: h('button', { onclick: () => {
      const running = model.get('exact')?.state === 'running';
      model.set('view', structuredClone(view));
      model.save_changes();
      send(model, { kind: running ? 'cancel' : 'exact' });
    } }, 'Exact answer')
  };
  const picks = data.behaviors.map(({ name: behavior }) => h('label', {}, h('input', {
    type: 'checkbox', checked: view.behaviors.includes(behavior),
    onchange: event => {
      const on = new Set(view.behaviors);
      if (event.target.checked) on.add(behavior);
      else if (on.size > 1) on.delete(behavior);
      else event.target.checked = true;
      view.behaviors = data.behaviors.map(b => b.name).filter(known => on.has(known));
      rebuild();
    }
  }), behavior));
  const colors = h('select', { 'aria-label': 'color the steps by', onchange: event => {
    view.color = event.target.value;
    rebuild();
  } }, ...data.columns.map(column => h('option', { value: column.name, selected: column.name === view.color }, column.name)));

  function showExact() {
    const now = model.get('exact') || {};
    buttons.exact.textContent = now.state === 'running' ? 'Cancel' : 'Exact answer';
    buttons.exact.disabled = !data.can_retrain;
    buttons.exact.title = data.can_retrain ? 'train again without the selected steps' : 'the run is not loaded in this notebook';
    const bar = now.state === 'running' ? h('progress', { value: now.share, max: 1 }) : null;
    fill(exact, bar, now.words || '');
    update();
  }

  const where = whereBox(model, () => view, condition => {
    view.where = condition;
    send(model, { kind: 'where', text: condition });
    update();
  });

  root.append(
    h('div', { class: 'aadsl-bar' }, h('fieldset', {}, h('legend', {}, 'behaviors'), ...picks),
      h('label', {}, 'color by ', colors), legend),
    panels,
    h('div', { class: 'aadsl-bar' }, h('label', {}, 'steps ', bounds[0]), h('label', {}, 'to ', bounds[1]), count,
      h('button', { onclick: () => zoom(view.start, view.stop) }, 'Zoom in'),
      h('button', { onclick: () => zoom(0, data.length) }, 'Whole run'),
      h('button', { onclick: () => select(0, data.length) }, 'Select all'), buttons.keep),
    where.box,
    h('div', { class: 'aadsl-bar' }, h('label', {}, 'name ', name), statement, buttons.copy, buttons.cell, said),
    h('div', { class: 'aadsl-columns' }, h('div', {}, effects, h('div', { class: 'aadsl-bar' }, buttons.exact, exact)), metadata),
    details
  );

  model.on('change:mask', update);
  model.on('change:exact', showExact);
  const resized = new ResizeObserver(update);
  resized.observe(root);
  const themed = new MutationObserver(update); // a canvas does not follow the theme by itself
  themed.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name', 'class'] });
  if (data.keep) keepWhenSaved(model.widget_manager, MARKER);
  rebuild();
  showExact();
  return () => {
    resized.disconnect();
    themed.disconnect();
    where.close();
    model.off('change:mask', update);
    model.off('change:exact', showExact);
  };
}
