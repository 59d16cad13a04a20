/** The stored response that fits a request, in memory or on disk. */
import type { StoredResponse } from "../cache/stored.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";

/** What is stored for a request, held against every purge; what only the disk has comes back into memory. */
export function findStored(
  x: RoutedExchange,
  context: EdgeContext,
): StoredResponse | null | Promise<StoredResponse | null> {
  const { purges, disk, store } = context;
  const entry = purges.find(x.base, x.secondary, x.request.fields);
  if (entry !== null || disk === null) return entry;
  const pass = store.get(x.base)?.pass ?? null;
  // What was found not to be storable is not looked for.
  if (pass !== null && context.clock.now() < pass.untilMs) return null;
  return disk.revive(x.base, x.secondary, x.request.fields, x.behavior.variantsMax);
}
