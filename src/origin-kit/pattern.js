/**
 * Path patterns as an edge's behaviours have them: `*` for any characters, `?` for one. The kit runs without
 * the edge's code, on a Node that reads no TypeScript, so the matching stands here once more.
 */

/**
 * True when `path` matches. On a mismatch only the latest `*` is widened: the work is at most the product of
 * the lengths.
 * @param {string} pattern
 * @param {string} path
 */
export function matchesPath(pattern, path) {
  let p = 0;
  let s = 0;
  let star = -1;
  let resume = 0;
  while (s < path.length) {
    const c = pattern[p];
    if (c === "*") {
      star = p++;
      resume = s;
    } else if (p < pattern.length && (c === "?" || c === path[s])) {
      p++;
      s++;
    } else if (star >= 0) {
      p = star + 1;
      s = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
