/** Failover criteria: which outcomes of one member make the next one be asked. */
import { UpstreamError, type UpstreamErrorCode } from "../next-hop.ts";

/** What a group moves on for. */
export interface Criteria {
  readonly statuses: ReadonlySet<number>;
  /** No connection, or one that ended before there was a usable answer. */
  readonly connect: boolean;
  /** A connection or an answer that did not come in time. */
  readonly timeout: boolean;
}

/** What kind of failure each error is; null: none that another member could help with. */
const KIND: Readonly<Record<UpstreamErrorCode, "connect" | "timeout" | "either" | null>> = {
  dns_error: "connect",
  destination_ip_prohibited: "connect",
  connection_refused: "connect",
  connection_timeout: "either",
  connection_terminated: "connect",
  connection_limit_reached: "either",
  tls_certificate_error: "connect",
  tls_protocol_error: "connect",
  http_response_timeout: "timeout",
  http_response_incomplete: "connect",
  http_response_header_section_size: "connect",
  http_protocol_error: "connect",
  http_request_error: null,
  http_upgrade_failed: null,
  proxy_internal_error: null,
  proxy_loop_detected: null,
};

/** Does this error make the next member be asked? */
export function movesOn(criteria: Criteria, error: unknown): boolean {
  if (!(error instanceof UpstreamError)) return false;
  switch (KIND[error.code]) {
    case "connect":
      return criteria.connect;
    case "timeout":
      return criteria.timeout;
    case "either":
      return criteria.connect || criteria.timeout;
    case null:
      // Its pool is full and so is the queue before it: nothing was sent.
      return error.code === "http_request_error" && error.retryable && criteria.connect;
  }
}
