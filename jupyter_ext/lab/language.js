// The tokens of the language, for CodeMirror.

import words from '../../grammar/words.json';

const KEYWORDS = new Set([...words.statements, ...words.connectives]);
const AXIS_WORDS = new Set(words.axes);
const ATOM_WORDS = new Set(words.atoms);

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
