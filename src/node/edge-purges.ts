/**
 * Purges that came to the viewers' ports. On a node of its own they go into its purge log like any other. In a
 * fleet a purge is the fleet's: the node hands it on to the control plane with a token of its own, or says
 * where to send it. That is no call of the data plane for a viewer: nobody but an operator's program waits for
 * it, and what is served does not depend on it.
 */
import { messageOf, ProximaError } from "../base/errors.ts";
import type { NodeConfig } from "../config/schema.ts";
import type { EdgePurgeOrder, EdgePurgeOutcome } from "../edge/phases/purge.ts";
import type { NodeLog } from "../service/log.ts";
import type { ControlClient } from "./fleet/control-client.ts";
import type { PurgeService } from "./purge-service.ts";
import { readSecret } from "./secrets.ts";

/** Purges that are under way at the same time; more are told to wait. */
const UNDER_WAY_MAX = 200;
const RETRY_AFTER_SECONDS = 2;
/** Targets that the log shows of one. */
const SHOWN_MAX = 5;
const SHOWN_CHARS_MAX = 500;

/** Member of `POST /v1/purges` for the targets of a scope. */
const MEMBER_OF = {
  url: "urls",
  prefix: "prefixes",
  wildcard: "patterns",
  host: "hosts",
  tag: "tags",
} as const;

/** Reads the node's token for its fleet. Rejects with a ProximaError that names the setting, and never the token. */
export async function openEdgePurges(
  config: NodeConfig,
  fleet: ControlClient | null,
  log: NodeLog,
): Promise<EdgePurges> {
  const ref = config.purges?.token;
  if (ref === undefined) return new EdgePurges(fleet, null, log);
  // The node's own config may name any place: `permitted` is for sites.
  const token = await readSecret(ref, undefined).catch((cause: unknown) => {
    throw new ProximaError("purge_token_unusable", `purges.token: ${messageOf(cause)}`, {
      source: "node",
      cause,
    });
  });
  if (token === null || token === "")
    throw new ProximaError(
      "purge_token_unusable",
      `purges.token: ${"env" in ref ? `the variable ${ref.env} is not set` : `the file ${ref.file} is empty`}`,
      { source: "node" },
    );
  return new EdgePurges(fleet, token, log);
}

/** Takes them. */
export class EdgePurges {
  readonly #fleet: ControlClient | null;
  readonly #token: string | null;
  readonly #log: NodeLog;
  #own: Pick<PurgeService, "create"> | null = null;
  #underWay = 0;

  constructor(fleet: ControlClient | null, token: string | null, log: NodeLog) {
    this.#fleet = fleet;
    this.#token = token;
    this.#log = log;
  }

  /** From here on the node's purge log takes purges. */
  begin(own: Pick<PurgeService, "create">): void {
    this.#own = own;
  }

  /** Does a purge; the node's log tells of it. Never rejects. */
  async take(order: EdgePurgeOrder): Promise<EdgePurgeOutcome> {
    if (this.#underWay >= UNDER_WAY_MAX)
      return {
        ok: false,
        status: 429,
        message: `${this.#underWay} purges are under way`,
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      };
    this.#underWay++;
    try {
      const outcome = await this.#do(order);
      const { method, address, site } = order;
      const what = `${method} of ${address}: ${shown(order)} of site ${site}`;
      if (outcome.ok) this.#log("info", `${what}: purge ${outcome.id}`);
      else this.#log("warning", `${what}: ${outcome.status}: ${outcome.message}`);
      return outcome;
    } finally {
      this.#underWay--;
    }
  }

  async #do({ site, scope, targets, mode }: EdgePurgeOrder): Promise<EdgePurgeOutcome> {
    const order = { site, scope, mode, ...(scope === "everything" ? {} : { [MEMBER_OF[scope]]: targets }) };
    const fleet = this.#fleet;
    try {
      if (fleet === null) {
        if (this.#own === null) return { ok: false, status: 503, message: "the node is starting" };
        return { ok: true, id: (await this.#own.create(order)).report.id };
      }
      if (this.#token === null)
        return {
          ok: false,
          status: 409,
          message: `this node belongs to a fleet and has no purges.token to hand a purge on with; send it to the control plane, ${fleet.url}/v1/purges`,
        };
      return { ok: true, id: (await fleet.purge(order, this.#token)).id };
    } catch (error) {
      if (!(error instanceof ProximaError)) this.#log("error", `a purge failed: ${messageOf(error)}`);
      return outcomeOf(error);
    }
  }
}

function outcomeOf(error: unknown): EdgePurgeOutcome {
  const message = messageOf(error);
  if (!(error instanceof ProximaError))
    return { ok: false, status: 500, message: "the node failed; its log says why" };
  switch (error.code) {
    case "invalid_purge":
    case "order_refused":
      return { ok: false, status: 400, message };
    case "purges_full":
    case "control_busy":
      return { ok: false, status: 429, message, retryAfterSeconds: RETRY_AFTER_SECONDS };
    case "control_refuses":
      return { ok: false, status: 502, message: "the control plane does not take this node's purges.token" };
    case "control_unreachable":
      return { ok: false, status: 503, message, retryAfterSeconds: RETRY_AFTER_SECONDS };
    default:
      return { ok: false, status: 500, message };
  }
}

/** Without what could break a line of the log. */
function shown({ scope, mode, targets }: EdgePurgeOrder): string {
  const more = targets.length > SHOWN_MAX ? ` and ${targets.length - SHOWN_MAX} more` : "";
  const some = targets
    .slice(0, SHOWN_MAX)
    .join(" ")
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, SHOWN_CHARS_MAX);
  return `${mode} ${scope}${some === "" ? "" : ` ${some}`}${more}`;
}
