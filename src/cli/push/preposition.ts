/** Pushed files asked of edges ahead of viewers, so that each has its own copy, also when storage is gone later. */
import { VERSION } from "../version.ts";
import type { PushOptions } from "./push.ts";
import { each } from "./upload.ts";

const AT_ONCE = 8;
const ANSWER_MS_MAX = 10 * 60_000;

/** What became of it at one edge. */
export interface Preposition {
  readonly edge: string;
  readonly asked: number;
  readonly failed: number;
}

/** Asks each named edge for what has changed. Never rejects for an edge that fails. */
export async function preposition(
  answer: Record<string, unknown>,
  { edge: edges, host }: Pick<PushOptions, "edge" | "host">,
  signal: AbortSignal,
): Promise<Preposition[]> {
  const changed = Array.isArray(answer.changed) ? answer.changed.map(String) : [];
  if (host === undefined) return [];
  return await Promise.all(
    edges.map(async (edge) => {
      let failed = 0;
      await each(changed, AT_ONCE, async (path) => {
        signal.throwIfAborted();
        if (!(await ask(edge, host, path, signal))) failed++;
      });
      return { edge: edge.host, asked: changed.length, failed };
    }),
  );
}

async function ask(edge: URL, host: string, path: string, signal: AbortSignal): Promise<boolean> {
  const url = `${edge.origin}/${path.split("/").map(encodeURIComponent).join("/")}`;
  try {
    const response = await fetch(url, {
      redirect: "manual",
      decompress: false,
      headers: { host, "user-agent": `proxima-push/${VERSION}`, "accept-encoding": "identity" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
      ...(edge.protocol === "https:" ? { tls: { serverName: host, rejectUnauthorized: false } } : {}),
    });
    for await (const _ of response.body ?? []);
    return response.status === 200;
  } catch {
    return false;
  }
}
