/**
 * A purge from its order to the news that every node has applied it: a control plane and N edge processes on
 * this machine (20 when not said), one order after another; with "nats" the log goes over a server of that.
 * `npm run bench -- fleet-purge [N] [ORDERS] [nats]`
 */
import { readFileSync } from "node:fs";
import { type FleetEdge, TestFleet } from "../test/kit/fleet.ts";
import { startNats } from "../test/kit/nats.ts";

/** CPU time of a process so far, in milliseconds; the kernel counts in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

const nodes = Number(process.argv[2] ?? 20);
const orders = Number(process.argv[3] ?? 300);

const nats = process.argv[4] === "nats" ? await startNats() : null;
const fleet = new TestFleet([], nats);
try {
  await fleet.ready();
  const edges: FleetEdge[] = [];
  for (let i = 0; i < nodes; i++) edges.push(await fleet.edge(`edge-${i}`));
  await fleet.apply({ shop: fleet.site() }, edges);
  for (const edge of edges) await edge.get("/page");
  const cpu = () => ({
    control: cpuMs(fleet.control.pid),
    edges: edges.reduce((sum, { program }) => sum + cpuMs(program.pid), 0),
  });
  const before = cpu();
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
    `${nodes} edges, ${orders} purges${nats === null ? "" : " over NATS"}: request to answer, when all had applied: p50 ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)}`,
  );
  const after = cpu();
  const each = (ms: number) => `${(ms / orders).toFixed(2)} ms`;
  console.log(
    `CPU for each purge: control plane ${each(after.control - before.control)}, an edge ${each((after.edges - before.edges) / nodes)}`,
  );
} finally {
  await fleet.stop();
  await nats?.stop();
}
