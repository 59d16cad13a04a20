/** Who answers on a connection, as errors name it: made once for each connection, not for each answer. */
import type { Fault } from "../../http/field-line.ts";
import { UpstreamError } from "../next-hop.ts";

/** The other end of a connection. */
export class Respondent {
  /** Such as "origin app (192.0.2.1:80)". */
  readonly who: string;
  /** Makes the error for a malformed response. */
  readonly fault: Fault;

  constructor(who: string) {
    this.who = who;
    this.fault = (what) =>
      new UpstreamError("http_protocol_error", `${who} sent a malformed response: ${what}`);
  }
}
