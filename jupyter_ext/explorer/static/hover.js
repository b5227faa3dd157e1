// What is known of the step under the pointer.

function hover(canvas, timeline, data) {
  const card = h('div', { class: 'aadsl-card', hidden: true });
  canvas.addEventListener('pointerleave', () => (card.hidden = true));
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect(), pixel = event.clientX - box.left;
    const under = timeline.stepAt(pixel);
    // On a crowded axis many steps share a pixel: tell of the one that is drawn.
    const step = timeline.steps.length < timeline.span.to - timeline.span.from
      ? timeline.steps.reduce((best, t) => (Math.abs(t - under) < Math.abs(best - under) ? t : best), timeline.steps[0])
      : under;
    const lines = data.columns.map(column => [column.name, text(column, step)]).filter(([, said]) => said !== '');
    fill(card, table([`step ${step}`, ''], [['effect', number(timeline.effects[step], true)], ...lines].slice(0, 12)));
    card.hidden = false;
    card.style.left = `${Math.min(pixel + 14, box.width - card.offsetWidth - 4)}px`;
    if (!card.parentElement) canvas.after(card);
  });
}
