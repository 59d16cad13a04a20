/** CDN-Loop (RFC 8586): how often a request has already passed a CDN. */
import { splitList } from "./syntax.ts";

/** How many members of CDN-Loop name `id`; parameters are ignored, case too (host names have none). */
export function countCdnLoop(value: string | null, id: string): number {
  if (value === null) return 0;
  const wanted = id.toLowerCase();
  let count = 0;
  for (const member of splitList(value)) {
    if (splitList(member, ";")[0]?.toLowerCase() === wanted) count++;
  }
  return count;
}

/** The value without its last member: what was there before the sender's own; null when that is all. */
export function withoutLast(value: string | null): string | null {
  const members = value === null ? [] : splitList(value);
  return members.length < 2 ? null : members.slice(0, -1).join(", ");
}

/** Appends `id`; what was there stays, as section 2 demands. */
export function appendCdnLoop(existing: string | null, id: string): string {
  return existing === null || existing === "" ? id : `${existing}, ${id}`;
}
