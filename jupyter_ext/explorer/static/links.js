// A click on the mark of a stage in another chart of the notebook selects that stage here. Return what ends that.

function linked(node, data, choose) {
  const notebook = place => place.closest('.jp-Notebook') || document.body;
  const onClick = event => {
    const chart = event.target.closest?.('.vega-embed');
    if (!chart || notebook(chart) !== notebook(node)) return;
    const stage = event.target.__data__?.datum?.stage; // Vega leaves with each mark what it stands for
    if (typeof stage === 'string' && data.byStage.has(stage)) choose(stage);
  };
  document.addEventListener('click', onClick);
  return () => document.removeEventListener('click', onClick);
}
