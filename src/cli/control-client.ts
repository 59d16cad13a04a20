/** Asks a node's control listener, as commands do: with the token of the environment, a limit for the time and one for the answer. */
import { InvalidArgumentError, Option } from "commander";
import { messageOf, ProximaError } from "../base/errors.ts";
import { type ListenAddress, parseListenAddress } from "../config/address.ts";
import { type Io, plainText } from "./io.ts";
import { onLoopback } from "./options.ts";

const ANSWER_BYTES_MAX = 64 * 1_024 * 1_024;

/** An address, or an http(s) URL of a control listener. */
export type ControlAddress = ListenAddress | URL;

/** A question to a control listener. */
export interface ControlQuestion {
  readonly control: ControlAddress;
  /** Path and query. */
  readonly target: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Left out: POST with a body, GET without. */
  readonly method?: "PUT" | "DELETE";
  /** Of a POST that may be sent again: it is done once. */
  readonly idempotencyKey?: string;
  readonly timeoutMs: number;
  /** Code of the ProximaError that it fails with. */
  readonly code: string;
}

/** The option by which commands name a control listener. */
export function controlOption(): Option {
  return new Option("--control <HOST:PORT>", "the node's control listener; https://HOST:PORT with TLS")
    .default({ hostname: "127.0.0.1", port: 8081 }, "127.0.0.1:8081")
    .argParser(controlAddress);
}

/** The option by which a command names several control listeners: they are asked in this order. */
export function controlsOption(): Option {
  const usual: readonly ControlAddress[] = [{ hostname: "127.0.0.1", port: 8081 }];
  return new Option(
    "--control <HOST:PORT>",
    "the node's control listener, or the URL of a fleet's control plane; https://HOST:PORT with TLS; may be repeated: asked in this order, shields before edges",
  )
    .default(usual, "127.0.0.1:8081")
    .argParser((text, named: readonly ControlAddress[]) => [
      ...(named === usual ? [] : named),
      controlAddress(text),
    ]);
}

function controlAddress(text: string): ControlAddress {
  const address = parseListenAddress(text);
  if (address !== null) return address;
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) throw new InvalidArgumentError("Expected HOST:PORT, or http(s)://HOST:PORT.");
  return url;
}

/** Where a control listener is, for people. */
export function baseOf(control: ControlAddress): string {
  return control instanceof URL ? control.origin : `http://${onLoopback(control)}`;
}

/** The answer, whatever its status. Rejects with a ProximaError of `question.code`. */
export async function askControl(
  question: ControlQuestion,
  io: Io,
): Promise<{ readonly status: number; readonly answer: unknown }> {
  const { control, target, body, idempotencyKey, timeoutMs, code } = question;
  const method = question.method ?? (body === undefined ? "GET" : "POST");
  const base = baseOf(control);
  const failed = (message: string, cause?: unknown) =>
    new ProximaError(code, message, { source: "node", cause });
  const token = io.env.PROXIMA_CONTROL_TOKEN;
  let status: number;
  let text: string;
  try {
    const response = await fetch(`${base}${target}`, {
      method,
      redirect: "manual",
      headers: {
        ...(method === "GET" ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const bytes: Uint8Array[] = [];
    let size = 0;
    for await (const piece of response.body ?? []) {
      size += piece.byteLength;
      if (size > ANSWER_BYTES_MAX) throw new Error("its answer is too long");
      bytes.push(piece);
    }
    status = response.status;
    text = Buffer.concat(bytes).toString("utf8");
  } catch (error) {
    if (error instanceof Error && error.name === "TimeoutError") {
      throw failed(`the control listener at ${base} did not answer within ${timeoutMs / 1_000} s`, error);
    }
    const refused =
      error instanceof Error && "code" in error && /ECONNREFUSED|ConnectionRefused/.test(String(error.code));
    throw failed(
      refused
        ? `nothing listens at ${base}; start proxima, or name its control listener with --control`
        : `the control listener at ${base} can not be asked: ${messageOf(error)}`,
      error,
    );
  }
  if (status === 204) return { status, answer: null };
  try {
    return { status, answer: JSON.parse(text) as unknown };
  } catch (error) {
    throw failed(`what listens at ${base} is not a proxima control listener`, error);
  }
}

/** `detail` of a problem document (RFC 9457 section 3.1.4), for a person; null when there is none. */
export function detailOf(answer: unknown): string | null {
  return isRecord(answer) && typeof answer.detail === "string" ? plainText(answer.detail) : null;
}

/** True for an object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
