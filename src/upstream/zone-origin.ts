/**
 * A push zone as an origin: its files lie with the fleet's storage, and this asks for each as of the place in
 * the fleet's log that this process has applied. So an edge shows a release whole: what it kept of the older
 * one is gone by the same entry of the log from which on it asks for the newer one.
 */
import { Fields } from "../http/fields.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "./next-hop.ts";

/** How a zone is reached. */
export interface ZoneOriginOptions {
  /** The origin's name in the config. */
  readonly name: string;
  readonly zone: string;
  /** The site that asks. */
  readonly site: string;
  /** Storage: its answers are those of the zone. */
  readonly server: NextHop;
  /** Value of the Host field. */
  readonly authority: string;
  /** What this node says who it is by. */
  readonly credential: () => string;
  /** The newest entry of the fleet's log that this process has applied. */
  readonly applied: () => number;
}

/** Fields of a viewer that storage has to know: nothing else goes there. */
const FORWARDED = [
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  "range",
] as const;

/** Asks the fleet's storage. */
export class ZoneOrigin implements NextHop {
  readonly name: string;
  readonly #options: ZoneOriginOptions;

  constructor(options: ZoneOriginOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const { zone, site, server, authority, credential, applied } = this.#options;
    const fields = new Fields();
    for (const name of FORWARDED) {
      const value = request.fields.get(name);
      if (value !== null) fields.set(name, value);
    }
    fields.set("authorization", `Bearer ${credential()}`);
    fields.set("proxima-as-of", String(applied()));
    fields.set("proxima-site", site);
    const response = await server.fetch(
      {
        ...request,
        target: `/v1/content/${zone}${request.target}`,
        authority,
        fields,
        body: null,
        bodyLength: null,
      },
      timeouts,
    );
    if (response.status < 400 || response.fields.has("surrogate-key")) {
      request.body?.cancel();
      return response;
    }
    // Without the tags of a zone it is not the zone that speaks: a refusal must not be stored as its answer.
    response.body?.cancel();
    const why = response.fields.has("proxima-no-zone")
      ? `there is no zone "${zone}" for site "${site}"`
      : `storage answered ${response.status}`;
    throw new UpstreamError("http_protocol_error", `origin "${this.name}": ${why}`);
  }

  close(): void {
    this.#options.server.close();
  }
}
