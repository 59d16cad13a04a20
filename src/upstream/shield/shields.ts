/**
 * The shields of a node: asked in the order in which a site names them, and of the nodes of one shield
 * first the one that the key belongs to (rendezvous hashing), so that a key is stored once. One that fails
 * is passed over, and in the end so are all: then the edge asks the origin itself.
 */
import type { Clock } from "../../base/clock.ts";
import { MovableRequest } from "../group/movable-request.ts";
import { withSmallBodyWhole } from "../group/whole-body.ts";
import {
  UpstreamError,
  type UpstreamErrorCode,
  type UpstreamRequest,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import type { HttpOriginOptions } from "../origin.ts";
import { ATTEMPTS_MAX, CONNECT_MS, MARGIN_MS, PROBE_AFTER_MS } from "./limits.ts";
import { ShieldNode, type ShieldResponse } from "./shield-node.ts";
import type { AskedPlace } from "./tier-field.ts";

/** A shield as a node knows it. */
export interface ShieldPlace {
  readonly name: string;
  readonly urls: readonly string[];
  readonly tls: NonNullable<HttpOriginOptions["tls"]>;
}

/** What the shields of a node are made from. */
export interface ShieldsOptions {
  readonly places: readonly ShieldPlace[];
  readonly clock: Clock;
  readonly key: Buffer;
  /** Told of shields that go down and come back. */
  readonly tell: (message: string) => void;
}

/** A request to the shields of a site. */
export interface ShieldRequest extends UpstreamRequest {
  /** Address of the viewer. */
  readonly client: string;
  /** Where this node stands in its fleet's log; null without a fleet. */
  readonly asked: AskedPlace | null;
  /** The site's shields, the preferred one first. */
  readonly shields: readonly string[];
  /** What the key's place among the nodes of a shield is made from. */
  readonly key: string;
}

/** How long the origin behind the shields may take, in milliseconds. */
export interface OriginTimes {
  readonly headMsMax: number;
  readonly betweenBytesMs: number;
}

/** What a shield gave. */
export interface ShieldAnswer {
  readonly response: ShieldResponse;
  /** Its name. */
  readonly by: string;
}

/** Thrown where a request was taken away from a shield that went down. */
const MOVED = new UpstreamError("http_request_error", "the request moved on from a shield that went down");

/** Every shield that this node can ask. */
export class Shields {
  readonly #nodes = new Map<string, readonly ShieldNode[]>();
  readonly #clock: Clock;

  constructor(options: ShieldsOptions) {
    const { places, clock, key, tell } = options;
    this.#clock = clock;
    for (const { name, urls, tls } of places)
      this.#nodes.set(
        name,
        urls.map((url) => new ShieldNode({ shield: name, url, tls, clock, key, tell })),
      );
  }

  /** Does this node know one of these shields? */
  knows(names: readonly string[]): boolean {
    return names.some((name) => this.#nodes.has(name));
  }

  /** The node of a shield that a key would be asked of now; null when it would be the origin. */
  first(names: readonly string[], key: string): ShieldNode | null {
    return this.#line(names, key, true)[0] ?? null;
  }

  /**
   * Asks. Null when the origin has to be asked instead: no shield is up, or none could answer. Rejects with
   * an UpstreamError when the origin failed the shield, or when the request can not be sent again.
   */
  async fetch(request: ShieldRequest, times: OriginTimes): Promise<ShieldAnswer | null> {
    const attempt = new MovableRequest(request);
    for (const node of this.#line(request.shields, request.key, attempt.isSafe)) {
      let response: ShieldResponse;
      try {
        response = await this.#ask(node, request, attempt, times);
      } catch (error) {
        if (attempt.isGivenUp || !attempt.mayMove(error)) throw error;
        continue;
      }
      const { error } = response.mark;
      if (error === null) return { response, by: node.name };
      response.body?.cancel();
      // The origin's failure: to ask it once more from here would only double its load.
      throw new UpstreamError(codeOf(error), `the origin failed ${node.name}: ${codeOf(error)}`);
    }
    return null;
  }

  close(): void {
    for (const nodes of this.#nodes.values()) for (const node of nodes) node.close();
  }

  /** The nodes that are up, in the order in which they are asked. */
  #line(names: readonly string[], key: string, isSafe: boolean): ShieldNode[] {
    const nowMs = this.#clock.now();
    const line: ShieldNode[] = [];
    for (const name of names) {
      const open = (this.#nodes.get(name) ?? []).filter(({ hop }) => {
        const admits = hop.health.admits(nowMs);
        return admits === true || (admits === "trial" && isSafe);
      });
      const weighed = open.map((node) => ({ node, weight: Bun.hash.xxHash64(`${node.url} ${key}`) }));
      weighed.sort((a, b) => (a.weight < b.weight ? 1 : -1));
      for (const { node } of weighed) line.push(node);
      if (line.length >= ATTEMPTS_MAX) break;
    }
    return line.slice(0, ATTEMPTS_MAX);
  }

  async #ask(
    node: ShieldNode,
    request: ShieldRequest,
    attempt: MovableRequest,
    times: OriginTimes,
  ): Promise<ShieldResponse> {
    const controller = new AbortController();
    const unlink = attempt.link(controller);
    let isMoved = false;
    const forget = attempt.isSafe
      ? node.hop.onDown(controller.signal, () => {
          isMoved = true;
          controller.abort();
        })
      : () => {};
    const timeouts: UpstreamTimeouts = {
      connectMs: CONNECT_MS,
      firstByteMs: times.headMsMax + MARGIN_MS,
      betweenBytesMs: times.betweenBytesMs + MARGIN_MS,
    };
    let cancelProbe = (): void => undefined;
    const watch = (): void => {
      cancelProbe = this.#clock.after(PROBE_AFTER_MS, () => {
        node.probe();
        watch();
      });
    };
    watch();
    try {
      const { shields: _, key: __, client, asked, ...rest } = request;
      const sent = { ...rest, body: attempt.body, signal: controller.signal };
      const response = await node.fetch(sent, { client, asked }, timeouts);
      // A shield that dies in the middle of a small answer is nobody's loss.
      return attempt.isSafe
        ? { ...(await withSmallBodyWhole(response, this.#clock)), mark: response.mark }
        : response;
    } catch (error) {
      unlink();
      throw isMoved ? MOVED : error;
    } finally {
      cancelProbe();
      forget();
    }
  }
}

/** Errors of an origin as a shield names them: a word that is not known here is a failure all the same. */
const CODES: ReadonlySet<string> = new Set<UpstreamErrorCode>([
  "dns_error",
  "destination_ip_prohibited",
  "connection_refused",
  "connection_timeout",
  "connection_terminated",
  "connection_limit_reached",
  "tls_certificate_error",
  "tls_protocol_error",
  "http_response_timeout",
  "http_response_incomplete",
  "http_response_header_section_size",
  "http_protocol_error",
  "http_request_error",
  "proxy_internal_error",
  "proxy_loop_detected",
]);

function codeOf(error: string): UpstreamErrorCode {
  return CODES.has(error) ? (error as UpstreamErrorCode) : "http_protocol_error";
}
