// The exact answer about the selection: asked for by hand, or following by itself; what is known of it, and of it alone.

const RESTS = 300; // milliseconds after which a selection is taken to rest

function exactBox(model, kernel, data, view) {
  const said = h('span', { class: 'aadsl-exact', role: 'status' });
  const button = h('button', {
    onclick: () => send(model, running() ? { kind: 'cancel' } : { kind: 'exact', view: structuredClone(view) })
  });
  const running = () => kernel.alive() && model.get('exact')?.state === 'running';
  // A selection that is shown anew, such as a reopened one, was not made just now: nothing follows.
  const asked = () => [selectionText(data, view), ...view.behaviors].join('\n');
  let followed = asked();
  const rest = debounced(RESTS, () => send(model, { kind: 'rest', view: structuredClone(view) }));

  function words(text) {
    const now = model.get('exact') || {}, known = answerOf(model.get('answers'), text);
    if (running()) return now.key === text ? now.words : `${now.key}: ${now.words}`;
    if (!kernel.alive()) return [known?.words, AGAIN].filter(Boolean).join('; ');
    return known?.words || (now.key === text && text ? now.words : '');
  }
  function show() {
    const text = selectionText(data, view), selection = selectionOf(data, model, view);
    const bar = running() ? h('progress', { value: model.get('exact').share, max: 1 }) : null;
    fill(said, bar, words(text));
    button.textContent = running() ? 'Cancel' : 'Exact answer';
    const missing = !kernel.alive() ? AGAIN : !data.can_retrain ? 'the run is not loaded in this notebook'
      : selection.empty || !selection.known ? 'select some steps first' : '';
    button.disabled = Boolean(missing) && !running();
    button.title = missing || 'train again without the selected steps';
  }
  // Called whenever the view may have changed.
  function follow() {
    const now = asked();
    if (kernel.alive() && data.can_retrain && now !== followed) rest();
    followed = now;
    show();
  }
  model.on('change:exact', show);
  model.on('change:answers', show);
  const close = () => {
    model.off('change:exact', show);
    model.off('change:answers', show);
  };
  return { box: h('div', { class: 'aadsl-bar' }, button, said), follow, show, close };
}
