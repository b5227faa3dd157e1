// The three things for which the explorer talks to JupyterLab itself. Elsewhere they do nothing and say so.

// Put a new cell with `source` below the cell of `node`; return whether that worked.
function insertCell(manager, node, source) {
  const notebook = manager?.context?.model?.sharedModel;
  const cell = node.closest('.jp-Cell');
  if (!notebook?.insertCell || !cell) return false;
  const listed = cell.closest('[data-windowed-list-index]') || cell;
  const place = listed.dataset.windowedListIndex ?? [...cell.parentElement.children].indexOf(cell);
  notebook.insertCell(Number(place) + 1, { cell_type: 'code', source, metadata: {}, outputs: [], execution_count: null });
  return true;
}

// Hide the picture below a live explorer; it is there for pages and notebooks in which no explorer runs.
function hideStill(node) {
  node.closest('.jp-OutputArea-child')?.classList.add('aadsl-explorer-live');
}

// JupyterLab saves no widgets by itself. Save ours, so that the notebook shows it again when it is reopened.
function keepWhenSaved(manager, marker) {
  const context = manager?.context;
  if (!context?.saveState?.connect || !context.model?.setMetadata || context.aadslKeepsExplorers) return;
  context.aadslKeepsExplorers = true;
  const mime = 'application/vnd.jupyter.widget-state+json';
  context.saveState.connect((_, phase) => {
    if (phase !== 'started' || context.isDisposed) return;
    const all = manager.get_state_sync({ drop_defaults: true }).state;
    const kept = {};
    for (const [id, { state }] of Object.entries(all)) {
      if (state._made_by !== marker) continue;
      const layout = String(state.layout).replace('IPY_MODEL_', '');
      Object.assign(kept, { [id]: all[id] }, all[layout] && { [layout]: all[layout] });
    }
    const before = context.model.getMetadata('widgets')?.[mime]?.state;
    if (!Object.keys(kept).length) return;
    const state = { ...before, ...kept };
    context.model.setMetadata('widgets', { [mime]: { version_major: 2, version_minor: 0, state } });
  });
}
