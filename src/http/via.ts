/** Via (RFC 9110 section 7.6.3): the path a message took. */
import { memoize } from "./memo.ts";

/** This hop of a message that came with HTTP/1.1, whose name may be left out; `by` is our pseudonym. */
const hopOf = memoize((by) => `1.1 ${by}`, 16);

/** Appends this hop to a message that came with HTTP/1.1. */
export function appendVia(existing: string | null, by: string): string {
  const hop = hopOf(by);
  return existing === null || existing === "" ? hop : `${existing}, ${hop}`;
}
