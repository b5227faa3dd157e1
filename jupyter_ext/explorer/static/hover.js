// What is known of the step under the pointer, and a few of its examples.

const LOOKS = 150; // milliseconds after which a pointer that rests on a step asks for its examples

function hover(canvas, timeline, data, examples) {
  const card = h('div', { class: 'aadsl-card', hidden: true });
  const looks = h('div', { class: 'aadsl-gallery' });
  let shown = -1;
  const ask = debounced(LOOKS, step => {
    if (step === shown && !card.hidden && !examples.known.has(step)) examples.ask({ step });
  });
  canvas.addEventListener('pointerleave', () => (card.hidden = true));
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect(), pixel = event.clientX - box.left;
    const under = timeline.stepAt(pixel);
    // On a crowded axis many steps share a pixel: tell of the one that is drawn.
    const step = timeline.steps.length < timeline.span.to - timeline.span.from
      ? timeline.steps.reduce((best, t) => (Math.abs(t - under) < Math.abs(best - under) ? t : best), timeline.steps[0])
      : under;
    const lines = data.columns.map(column => [short(column.name), text(column, step)]).filter(([, said]) => said !== '');
    fill(card, table([`step ${step}`, ''], [['effect', number(timeline.values[step], true)], ...lines].slice(0, 12)), looks);
    if (step !== shown) fill(looks);
    shown = step;
    card.hidden = false;
    card.style.left = `${Math.min(pixel + 14, box.width - card.offsetWidth - 4)}px`;
    if (!card.parentElement) canvas.after(card);
    show(step);
    if (event.buttons === 0) ask(step);
  });
  function show(step) {
    const found = examples.known.get(step);
    if (step !== shown || !found?.examples) return;
    const more = found.uses - found.examples.length;
    fill(looks, ...found.examples.map(one => exampleFigure(one)), more > 0 ? h('small', {}, `${more} more`) : null);
  }
  return show;
}
