/** Requests of a node to its control plane: each with a time limit, each answer with a size limit and checked. */
import * as z from "zod";
import { messageOf, ProximaError } from "../../base/errors.ts";
import {
  changesAnswer,
  headAnswer,
  joinAnswer,
  type NodeReport,
  reportAnswer,
  snapshotAnswer,
} from "../../service/fleet-wire.ts";

/** Longest time for an answer, beside what it may wait for on purpose, in milliseconds. */
const ANSWER_MS_MAX = 10_000;
/** A snapshot of 100,000 sites takes longer. */
const SNAPSHOT_MS_MAX = 60_000;
/** Longest wait for the other nodes to apply a purge that came here, in seconds. */
const PURGE_SECONDS_MAX = 10;
/** Largest answers, in bytes. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const SNAPSHOT_BYTES_MAX = 512 * 1024 * 1024;

/** Codes of errors of the client. */
export type ControlErrorCode =
  /** It can not be reached, or does not answer as a control plane. */
  | "control_unreachable"
  /** It does not take this node's credential. */
  | "control_refuses"
  /** The place in the log is not one of this log. */
  | "log_unknown"
  | "not_found"
  /** What was ordered can not be done, and the sentence says why. */
  | "order_refused"
  | "control_busy"
  | "conflict";

/** What a request needs. */
interface Ask<T> {
  readonly path: string;
  readonly schema: z.ZodType<T>;
  readonly body?: unknown;
  readonly bearer?: string;
  readonly msMax?: number;
  readonly bytesMax?: number;
}

/** The client. */
export class ControlClient {
  readonly url: string;
  readonly #ca: string | null;
  readonly #closing = new AbortController();
  credential = "";

  /** `ca` are the authorities (PEM) to trust; null for the well-known ones. */
  constructor(url: string, ca: string | null) {
    this.url = url.replace(/\/$/, "");
    this.#ca = ca;
  }

  /** Joins the fleet. */
  join(token: string, name: string, version: string): Promise<z.infer<typeof joinAnswer>> {
    return this.#ask({ path: "/v1/join", schema: joinAnswer, body: { name, version }, bearer: token });
  }

  /** Entries behind a place; waits up to `waitSeconds` for one. */
  changes(
    place: { readonly sequence: number; readonly digest: string },
    waitSeconds: number,
  ): Promise<z.infer<typeof changesAnswer>> {
    const query = new URLSearchParams({
      after: String(place.sequence),
      digest: place.digest,
      wait: String(waitSeconds),
    });
    return this.#ask({
      path: `/v1/changes?${query}`,
      schema: changesAnswer,
      msMax: ANSWER_MS_MAX + waitSeconds * 1_000,
    });
  }

  head(): Promise<z.infer<typeof headAnswer>> {
    return this.#ask({ path: "/v1/changes/head", schema: headAnswer });
  }

  snapshot(number: number): Promise<z.infer<typeof snapshotAnswer>> {
    return this.#ask({
      path: `/v1/snapshots/${number}`,
      schema: snapshotAnswer,
      msMax: SNAPSHOT_MS_MAX,
      bytesMax: SNAPSHOT_BYTES_MAX,
    });
  }

  /** Orders a purge in the name of whoever holds `token`. Resolves when every node that can be reached has applied it. */
  purge(order: unknown, token: string): Promise<{ readonly id: string }> {
    return this.#ask({
      path: `/v1/purges?wait=applied&seconds=${PURGE_SECONDS_MAX}`,
      schema: purgeAnswer,
      body: order,
      bearer: token,
      msMax: ANSWER_MS_MAX + PURGE_SECONDS_MAX * 1_000,
    });
  }

  report(report: NodeReport): Promise<z.infer<typeof reportAnswer>> {
    return this.#ask({ path: "/v1/nodes/self/report", schema: reportAnswer, body: report });
  }

  /** Ends what is under way. */
  close(): void {
    this.#closing.abort();
  }

  async #ask<T>(ask: Ask<T>): Promise<T> {
    const { status, text } = await this.#exchange(ask);
    if (status !== 200 && status !== 201) throw refusal(status, detailOf(text), this.url);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw unreachable(this.url, "its answer is not JSON");
    }
    const parsed = ask.schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw unreachable(
      this.url,
      `its answer is not understood: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
    );
  }

  async #exchange({
    path,
    body,
    bearer,
    msMax,
    bytesMax,
  }: Ask<unknown>): Promise<{ status: number; text: string }> {
    const limit = bytesMax ?? ANSWER_BYTES_MAX;
    try {
      const response = await fetch(this.url + path, {
        method: body === undefined ? "GET" : "POST",
        redirect: "manual",
        headers: {
          authorization: `Bearer ${bearer ?? this.credential}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([AbortSignal.timeout(msMax ?? ANSWER_MS_MAX), this.#closing.signal]),
        ...(this.#ca === null ? {} : { tls: { ca: this.#ca } }),
      });
      const pieces: Uint8Array[] = [];
      let size = 0;
      for await (const piece of response.body ?? []) {
        size += piece.byteLength;
        if (size > limit) throw new Error("its answer is too long");
        pieces.push(piece);
      }
      return { status: response.status, text: Buffer.concat(pieces).toString("utf8") };
    } catch (error) {
      throw unreachable(this.url, messageOf(error), error);
    }
  }
}

const purgeAnswer = z.object({ id: z.string().max(100) });

function unreachable(url: string, why: string, cause?: unknown): ProximaError<ControlErrorCode> {
  return new ProximaError<ControlErrorCode>(
    "control_unreachable",
    `the control plane at ${url} can not be reached: ${why}`,
    { source: "node", retryable: true, cause },
  );
}

function refusal(status: number, detail: string, url: string): ProximaError<ControlErrorCode> {
  const make = (code: ControlErrorCode) =>
    new ProximaError<ControlErrorCode>(code, `the control plane at ${url} answered ${status}: ${detail}`, {
      source: "node",
    });
  switch (status) {
    case 401:
    case 403:
      return make("control_refuses");
    case 400:
      return make("order_refused");
    case 429:
      return make("control_busy");
    case 404:
      return make("not_found");
    case 409:
      return make("conflict");
    default:
      return make("control_unreachable");
  }
}

function detailOf(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "detail" in value)
      return String(value.detail).slice(0, 500);
  } catch {
    // Some proxy's page.
  }
  return "no reason given";
}
