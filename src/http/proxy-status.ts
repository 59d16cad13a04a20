/** Proxy-Status (RFC 9209): what went wrong between this proxy and its next hop. */
import { sfString, sfTokenOrString } from "./structured.ts";

/** One error, with an error type of RFC 9209 section 2.3. */
export interface ProxyStatusMember {
  /** Name of this proxy. */
  readonly proxy: string;
  readonly error: string;
  /** Name or address of the next hop. */
  readonly nextHop?: string;
  readonly details?: string;
}

/** The member as text. */
export function formatProxyStatus(member: ProxyStatusMember): string {
  let text = `${sfTokenOrString(member.proxy)}; error=${sfTokenOrString(member.error)}`;
  if (member.nextHop !== undefined) text += `; next-hop=${sfTokenOrString(member.nextHop)}`;
  if (member.details !== undefined) text += `; details=${sfString(member.details)}`;
  return text;
}
