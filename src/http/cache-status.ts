/** Cache-Status (RFC 9211): one member, that of this cache; whoever forwards a response appends to it. */
import { sfInteger, sfString, sfTokenOrString } from "./structured.ts";
import { TextParts } from "./text-parts.ts";

/** How this cache handled a request. `hit` and `fwd` exclude each other (RFC 9211 section 2.1). */
export interface CacheStatusMember {
  /** Name of the cache. */
  readonly cache: string;
  readonly hit?: boolean | undefined;
  readonly fwd?:
    | "bypass"
    | "method"
    | "uri-miss"
    | "vary-miss"
    | "miss"
    | "request"
    | "stale"
    | "partial"
    | undefined;
  readonly fwdStatus?: number | undefined;
  /** Remaining freshness lifetime in seconds; negative when stale. */
  readonly ttl?: number | undefined;
  readonly stored?: boolean;
  readonly collapsed?: boolean;
  readonly key?: string;
  readonly detail?: string;
  /** Our own parameter: this cache does not know whether it has heard of every purge. */
  readonly unsynced?: boolean;
}

const text = new TextParts();

/** The member as text. */
export function formatCacheStatus(member: CacheStatusMember): string {
  text.begin();
  text.add(sfTokenOrString(member.cache));
  if (member.hit === true) text.add("; hit");
  else if (member.fwd !== undefined) {
    parameter("; fwd=", member.fwd);
    if (member.fwdStatus !== undefined) parameter("; fwd-status=", sfInteger(member.fwdStatus));
  }
  if (member.ttl !== undefined) parameter("; ttl=", sfInteger(member.ttl));
  if (member.hit !== true) {
    if (member.stored === true) text.add("; stored");
    if (member.collapsed === true) text.add("; collapsed");
  }
  if (member.key !== undefined) parameter("; key=", sfString(member.key));
  if (member.detail !== undefined) parameter("; detail=", sfTokenOrString(member.detail));
  if (member.unsynced === true) text.add("; unsynced");
  return text.text();
}

function parameter(name: string, value: string): void {
  text.add(name);
  text.add(value);
}
