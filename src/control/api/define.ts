/** How routes are written: the usual is left out. */
import type * as z from "zod";
import { BODY_BYTES_MAX, PAGE_DEFAULT } from "../limits.ts";
import type { Call, Route, RouteSketch } from "./route.ts";

/** Entries of a page where the caller does not say. */
export const PAGE_LIMIT = PAGE_DEFAULT;

/** A route from its sketch. */
export function define<B extends z.ZodType = z.ZodUndefined, Q extends z.ZodType = z.ZodUndefined>(
  sketch: RouteSketch<B, Q>,
): Route {
  const { run, finish } = sketch;
  return {
    method: sketch.method,
    path: sketch.path,
    group: sketch.group,
    summary: sketch.summary,
    access: sketch.access,
    fleetWide: sketch.fleetWide ?? false,
    action: sketch.action ?? null,
    secret: sketch.secret ?? false,
    body: sketch.body ?? null,
    bodyBytesMax: sketch.bodyBytesMax ?? BODY_BYTES_MAX,
    raw: sketch.raw ?? false,
    query: sketch.query ?? null,
    answer: sketch.answer ?? null,
    status: sketch.status ?? 200,
    // Body and query were parsed by these very schemas before.
    run: (call) => run(call as Call<z.output<B>, z.output<Q>>),
    finish:
      finish === undefined ? null : (call, value) => finish(call as Call<z.output<B>, z.output<Q>>, value),
  };
}

/** A page of a list, with the path of the next one when this one is full. */
export function page<T>(
  path: string,
  items: readonly T[],
  limit: number,
  cursorOf: (last: T) => Readonly<Record<string, string | number>>,
): { readonly items: readonly T[]; readonly next: string | null } {
  const last = items.at(-1);
  if (last === undefined || items.length < limit) return { items, next: null };
  const query = new URLSearchParams({ limit: String(limit) });
  for (const [name, value] of Object.entries(cursorOf(last))) query.set(name, String(value));
  return { items, next: `${path}?${query}` };
}
