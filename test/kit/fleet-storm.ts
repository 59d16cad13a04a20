/**
 * A storm of purges while parts of a fleet are killed: the leader of the log's stream, the control plane, an
 * edge; the edges' shield is cut off, an edge comes late. After it every acknowledged purge has to stand in every
 * node's journal, and no node may give what was purged.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { type FleetEdge, TestFleet, until } from "./fleet.ts";
import type { TestNats } from "./nats.ts";

/** A restarted edge has another port, which would be another host. */
const HOST = { host: "shop.example" };
/** Requests to an edge at the same time while pages are asked for one by one. */
const AT_ONCE = 16;
/** Tokens among which the orders are shared: each has a rate of its own. */
const TOKENS = 8;

/** What came of a storm. */
export interface StormReport {
  readonly purges: number;
  readonly requests: number;
  /** Orders that had to be repeated, since the control plane was away. */
  readonly repeated: number;
  /** From the last order until all nodes had applied everything, in milliseconds. */
  readonly behindMs: number;
}

/** Runs one. Throws for whatever is not as it has to be. */
export async function fleetStorm(nats: TestNats | null, purges: number): Promise<StormReport> {
  const fleet = new TestFleet([], nats);
  try {
    await fleet.ready();
    return await storm(fleet, nats, purges);
  } finally {
    await fleet.stop();
  }
}

async function storm(fleet: TestFleet, nats: TestNats | null, purges: number): Promise<StormReport> {
  const edges: FleetEdge[] = [];
  await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site({ shields: ["fra"] }) } });
  const secret = { file: await fleet.programs.write("secret", crypto.randomUUID()) };
  // The one that is cut off is the others' shield: when it is back it is behind them.
  const b = await joined(fleet, "edge-b", { tiers: { secret, accept: true } });
  const tiers = { secret, shields: { fra: { urls: [b.http] } } };
  const a = await joined(fleet, "edge-a", { tiers });
  const c = await joined(fleet, "edge-c", { tiers, cache: { disk: { size: "64MiB" } } });
  edges.push(a, b, c);
  const tokens = await Promise.all(
    Array.from({ length: TOKENS }, async (_, i) => {
      const { value } = await fleet.ask("POST", "/v1/tokens", { name: `storm-${i}`, scopes: ["purge"] });
      return String(value.secret);
    }),
  );
  // Each purge is of a page of its own, which every node holds: none of them is made good by a later one.
  for (const edge of edges) await eachPage(edge, purges, () => {});
  const readers = new Readers(() => edges, purges);
  const acknowledged: { id: string; sequence: number; page: number; version: number }[] = [];
  const run = crypto.randomUUID();
  let repeated = 0;
  const events = new Map<number, () => Promise<void> | void>();
  const at = (share: number, what: () => Promise<void> | void) =>
    events.set(Math.floor(share * purges), what);
  const pending: Promise<void>[] = [];
  at(0.2, async () => {
    if (nats === null) return;
    const leader = await nats.leaderOf("PROXIMA-LOG");
    if (leader === null) throw new Error("the stream has no leader");
    await leader.crash();
    // It comes back while others are away.
    pending.push(Bun.sleep(4_000).then(() => leader.restart()));
  });
  at(0.35, () => b.program.kill("SIGSTOP"));
  at(0.5, async () => {
    fleet.control.kill("SIGKILL");
    await fleet.control.end();
    pending.push(fleet.restartControl());
  });
  at(0.65, async () => {
    c.program.kill("SIGKILL");
    await c.program.end();
    pending.push(c.restart());
  });
  at(0.8, () => b.program.kill("SIGCONT"));
  at(0.9, async () => {
    await Promise.all(pending.splice(0));
    edges.push(await joined(fleet, "edge-late", { tiers }));
  });
  for (let i = 0; i < purges; i++) {
    await events.get(i)?.();
    const page = i;
    const version = ++fleet.version;
    // The key makes a repeated order the same one.
    const body = { scope: "tag", site: "shop", tags: [`page-k-${page}`], idempotencyKey: `${run}-${i}` };
    for (;;) {
      const answer = await fleet.ask("POST", "/v1/purges", body, tokens[i % TOKENS]).catch(() => null);
      if (answer?.status === 201 || answer?.status === 200) {
        acknowledged.push({ id: answer.value.id, sequence: answer.value.sequence, page, version });
        break;
      }
      if (answer?.status === 400) throw new Error(answer.text);
      repeated++;
      await Bun.sleep(20);
    }
  }
  await Promise.all(pending);
  const lastMs = performance.now();
  const { head } = (await fleet.ask("GET", "/v1/changes/head")).value;
  for (const edge of edges)
    await until(`${edge.name} has all`, async () => {
      const { applied, synced } = await edge.view();
      return applied === head && synced;
    });
  const behindMs = performance.now() - lastMs;
  await readers.stop();
  await check(fleet, edges, acknowledged);
  if (readers.failures.length > 0) throw new Error(`viewers were failed: ${readers.failures[0]}`);
  if (!a.program.child.killed && a.program.child.exitCode !== null) throw new Error("edge-a has ended");
  return { purges, requests: readers.requests, repeated, behindMs };
}

/** Joins an edge; one that comes while there is no control plane waits for it. */
async function joined(
  fleet: TestFleet,
  name: string,
  config: Readonly<Record<string, unknown>> = {},
): Promise<FleetEdge> {
  const edge = await fleet.edge(name, config);
  await until(`${name} serves`, async () => (await edge.get("/k/0", HOST)).status === 200);
  return edge;
}

async function check(
  fleet: TestFleet,
  edges: readonly FleetEdge[],
  acknowledged: readonly { id: string; sequence: number; page: number; version: number }[],
): Promise<void> {
  const sequences = acknowledged.map(({ sequence }) => sequence);
  if (new Set(acknowledged.map(({ id }) => id)).size !== acknowledged.length)
    throw new Error("two orders are one purge");
  if (sequences.some((one, i) => i > 0 && one <= (sequences[i - 1] ?? 0)))
    throw new Error("the numbers do not grow in the order of the orders");
  for (const edge of edges) {
    // A journal takes no entry that is older than its newest: one that is whole was written in order.
    const journal = journalOf(join(edge.path, "purges.db"));
    const first = edge.name === "edge-late" ? (journal[0]?.sequence ?? 0) : 0;
    const wanted = acknowledged.filter(({ sequence }) => sequence > first);
    const found = new Map(journal.map(({ sequence, id }) => [id, sequence]));
    for (const { id, sequence } of wanted)
      if (found.get(id) !== sequence) throw new Error(`${edge.name} has not applied ${id} (${sequence})`);
    // It began anew once, when it joined, and never after.
    const anew = journal.filter(({ id }) => id.startsWith("anew-")).length;
    if (anew > 1) throw new Error(`${edge.name} emptied its cache ${anew} times`);
    await eachPage(edge, acknowledged.length, (body, page) => {
      const least = acknowledged[page]?.version ?? 0;
      const version = Number(/ v(\d+)$/.exec(body)?.[1]);
      if (!(version >= least)) throw new Error(`${edge.name} gives ${body}, purged was up to v${least}`);
    });
  }
  // The proof, as an operator asks for it.
  const { value } = await fleet.ask("GET", `/v1/purges/${acknowledged.at(-1)?.id}?wait=applied&seconds=10`);
  if (value.state === "accepted")
    throw new Error(`the control plane does not know: ${JSON.stringify(value)}`);
}

/** Asks an edge for every page. */
async function eachPage(
  edge: FleetEdge,
  pages: number,
  look: (body: string, page: number) => void,
): Promise<void> {
  let next = 0;
  const one = async () => {
    while (next < pages) {
      const page = next++;
      const { status, body } = await edge.get(`/k/${page}`, HOST);
      if (status !== 200) throw new Error(`${edge.name} answers ${status} for /k/${page}`);
      look(body, page);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

function journalOf(file: string): { sequence: number; id: string }[] {
  const database = new Database(file, { readonly: true });
  try {
    return database
      .query<{ sequence: number; id: string }, []>("SELECT sequence, id FROM purges ORDER BY sequence")
      .all();
  } finally {
    database.close();
  }
}

/** Viewers who ask every edge that is up, so that something is stored anew after each purge. */
class Readers {
  requests = 0;
  /** Answers other than 200 of an edge that was up. */
  readonly failures: string[] = [];
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(edges: () => readonly FleetEdge[], pages: number) {
    this.#running = this.#run(edges, pages);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(edges: () => readonly FleetEdge[], pages: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      await Promise.all(
        edges().map(async (edge) => {
          // Killed and cut off ones do not answer: that is not what is asked here.
          const answer = await Promise.race([
            edge.get(`/k/${(7 * i) % pages}`, HOST).catch(() => null),
            Bun.sleep(200),
          ]);
          if (answer == null) return;
          this.requests++;
          if (answer.status !== 200) this.failures.push(`${edge.name}: ${answer.status}`);
        }),
      );
      await Bun.sleep(10);
    }
  }
}
