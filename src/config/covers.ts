/** Path patterns as texts: whether one takes in all that another does. Matching itself is compiled. */

/**
 * True when every path that `narrow` matches is matched by `wide` too, as far as the patterns alone
 * tell: never true wrongly, false at times for forms such as `/a*` + `*b` against `/a*b`.
 */
export function covers(wide: string, narrow: string): boolean {
  if (wide === narrow || wide === "*" || wide === "/*") return true;
  // `narrow` is read as a text in which * is a symbol of its own that only a * of `wide` can take in.
  let w = 0;
  let n = 0;
  let star = -1;
  let starN = 0;
  while (n < narrow.length) {
    const symbol = narrow[n];
    if (wide[w] === "*") {
      star = w++;
      starN = n;
    } else if (w < wide.length && symbol !== "*" && (wide[w] === symbol || wide[w] === "?")) {
      w++;
      n++;
    } else if (star >= 0) {
      w = star + 1;
      n = ++starN;
    } else {
      return false;
    }
  }
  while (wide[w] === "*") w++;
  return w === wide.length;
}
