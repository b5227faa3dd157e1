// The tokens of the language, for CodeMirror. The words are those of grammar/aascore.lark; a test compares them.

export const STATEMENTS = [
  'load', 'stage', 'stages', 'behavior', 'score', 'verify', 'rank', 'plot', 'explain', 'save', 'show', 'help'
];
export const CONNECTIVES = [
  'with', 'by', 'every', 'within', 'on', 'per', 'example', 'top', 'using', 'under', 'of', 'where', 'and', 'or', 'not',
  'in', 'matches'
];
export const AXES = ['batches', 'steps'];
export const ATOMS = ['true', 'false', 'True', 'False'];

const KEYWORDS = new Set([...STATEMENTS, ...CONNECTIVES]);
const AXIS_WORDS = new Set(AXES);
const ATOM_WORDS = new Set(ATOMS);

function word(stream) {
  const text = stream.current();
  if (KEYWORDS.has(text)) return 'keyword';
  if (AXIS_WORDS.has(text)) return 'variableName.standard';
  if (ATOM_WORDS.has(text)) return 'bool';
  // A call, or the name of an argument, but no comparison.
  if (stream.match(/\s*\(/, false)) return 'variableName.function';
  if (stream.match(/\s*=(?!=)/, false)) return 'variableName.definition';
  return 'variableName';
}

export const tokens = {
  name: 'aascore',
  languageData: { commentTokens: { line: '#' } },
  startState: () => ({ begun: false }),
  token(stream, state) {
    if (!state.begun) {
      state.begun = true;
      if (stream.match(/^%%aascore\b.*/)) return 'meta';
    }
    if (stream.eatSpace()) return null;
    if (stream.match(/^#.*/)) return 'comment';
    if (stream.match(/^"(?:[^"\\]|\\.)*"?/) || stream.match(/^'(?:[^'\\]|\\.)*'?/)) return 'string';
    if (stream.match(/^`[^`]*`?/)) return 'variableName';
    if (stream.match(/^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/)) return 'number';
    if (stream.match(/^[\p{L}_][\p{L}\p{N}_]*/u)) return word(stream);
    if (stream.match(/^(?:==|!=|<=|>=|[<>=+\-*/%])/)) return 'operator';
    stream.next();
    return 'punctuation';
  }
};
