/**
 * A purge from its order to the news that every node has applied it: a control plane and N edge processes on
 * this machine (20 when not said), one order after another. `npm run bench -- fleet-purge [N] [ORDERS]`
 */
import { type FleetEdge, TestFleet } from "../test/kit/fleet.ts";

const nodes = Number(process.argv[2] ?? 20);
const orders = Number(process.argv[3] ?? 300);

const fleet = new TestFleet();
try {
  await fleet.ready();
  const edges: FleetEdge[] = [];
  for (let i = 0; i < nodes; i++) edges.push(await fleet.edge(`edge-${i}`));
  await fleet.apply({ shop: fleet.site() }, edges);
  for (const edge of edges) await edge.get("/page");
  const times: number[] = [];
  for (let i = 0; i < orders; i++) {
    const startMs = performance.now();
    const { value } = await fleet.ask("POST", "/v1/purges?wait=applied", { scope: "tag", tags: [`t${i}`] });
    if (value.state === "accepted") throw new Error("a node did not apply it");
    times.push(performance.now() - startMs);
    // Not faster than the token may.
    await Bun.sleep(20);
  }
  times.sort((x, y) => x - y);
  const at = (share: number) =>
    `${(times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0).toFixed(1)} ms`;
  console.log(
    `${nodes} edges, ${orders} purges: request to answer, when all had applied: p50 ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)}`,
  );
} finally {
  await fleet.stop();
}
