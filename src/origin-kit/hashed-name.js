/** Whether a file's name holds a hash of its content, by the habits of bundlers: a name that looks so never changes its bytes. */

/**
 * `certain`: eight or more hexadecimal digits with letters among them, or a mix of letters and digits that no
 * word has. `likely`: what is shaped like a bundler's hash, but might be a word. Null: neither.
 * @param {string} path
 * @returns {"certain" | "likely" | null}
 */
export function hashInName(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  // "app-4f3a9c1b.min.js": every part but the last, which is the extension, and but the first.
  const dot = name.lastIndexOf(".");
  const stem = dot < 0 ? name : name.slice(0, dot);
  /** @type {"likely" | null} */
  let found = null;
  for (const part of stem.split(/[.~@-]/).flatMap((piece) => [piece, ...piece.split("_")])) {
    const certainty = hashIn(part);
    if (certainty === "certain") return "certain";
    found ??= certainty;
  }
  // Base 64 for file names has "-" and "_" in it: what follows the first separator, whole.
  const tail = /[.-]([A-Za-z0-9_-]{8,12})$/.exec(stem)?.[1];
  return found ?? (tail === undefined ? null : hashIn(tail));
}

/** @param {string} part @returns {"certain" | "likely" | null} */
function hashIn(part) {
  if (part.length < 8 || part.length > 128) return null;
  const hasDigit = /\d/.test(part);
  if (/^[0-9a-f]+$/.test(part)) {
    if (hasDigit && /[a-f]/.test(part)) return "certain";
    // Digits alone are a date or a number, unless there are very many; letters alone may be a word.
    return part.length >= 20 ? "certain" : hasDigit ? null : "likely";
  }
  if (!/^[A-Za-z0-9_-]+$/.test(part)) return null;
  // esbuild: eight characters of base 32.
  if (/^[A-Z2-7]{8}$/.test(part) && hasDigit) return "certain";
  const isMixed = /[a-z]/.test(part) && /[A-Z]/.test(part);
  if (isMixed && hasDigit && alternations(part) >= 2) return "certain";
  // Vite: eight characters of base 64, a quarter of them without a digit.
  return isMixed && part.length === 8 && !/^[A-Z]?[a-z]+$/.test(part) ? "likely" : null;
}

/** How often digits and letters follow each other. @param {string} part */
function alternations(part) {
  return (part.match(/\d(?=\D)|\D(?=\d)/g) ?? []).length;
}
