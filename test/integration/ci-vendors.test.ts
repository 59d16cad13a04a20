/** Clients of other CDNs against the local CI mode, whose clock is a year ahead of theirs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { CiRun } from "../kit/ci.ts";
import { until } from "../kit/fleet.ts";
import { Programs } from "../kit/program.ts";
import { VendorClients } from "../kit/vendor-clients.ts";

const YEAR_HOURS = 8_766;

let programs: Programs;
let origin: Bun.Server<undefined>;
let run: CiRun;
let clients: VendorClients;
beforeAll(async () => {
  programs = new Programs();
  origin = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => new Response("a", { headers: { "cache-control": "max-age=3600", "surrogate-key": "all" } }),
  });
  const argv = ["--pops", "fra,nyc", "--takeover", "127.0.0.1:0"];
  run = await CiRun.start(programs, `http://127.0.0.1:${origin.port}`, ...argv);
  const { url, hosts, caFile } = run.ready.takeover;
  clients = VendorClients.takenOver(Number(new URL(url).port), hosts, caFile);
  expect((await run.ask("POST", "/v1/clock", { advance: `${YEAR_HOURS}h` })).status).toBe(200);
});
afterAll(async () => {
  await clients.stop();
  run.program.kill("SIGTERM");
  await run.program.end();
  await programs.stop();
  await origin.stop(true);
});

/** Stores a page at both PoPs, and waits until it is stored at neither any more. */
async function purged(act: () => Promise<unknown>): Promise<void> {
  const headers = { host: "shop.example" };
  for (const pop of ["fra", "nyc"]) {
    await run.get(pop, "/a", headers);
    expect((await run.get(pop, "/a", headers)).cache).toBe("HIT");
  }
  await act();
  for (const pop of ["fra", "nyc"])
    await until(`${pop} has no page`, async () => (await run.get(pop, "/a", headers)).cache !== "HIT");
}

test("CloudFront's client signs with the key of the run", () =>
  purged(() =>
    clients.value("cloudfront", {
      options: { credentials: run.ready.accessKey },
      command: "CreateInvalidationCommand",
      input: {
        DistributionId: "ci",
        InvalidationBatch: { CallerReference: "1", Paths: { Quantity: 1, Items: ["/a"] } },
      },
    }),
  ));

test("Fastly's client finds it in place of its own host", () =>
  purged(() =>
    clients.value("fastly", {
      token: run.ready.token,
      method: "purgeTag",
      args: { service_id: "ci", surrogate_key: "all" },
    }),
  ));

test("it takes no place beyond loopback, where its token is known", async () => {
  const end = await programs.run(["dev", "--ci", "--takeover", "0.0.0.0:0"]);
  expect([end.status, end.err]).toEqual([
    2,
    expect.stringContaining("--takeover 0.0.0.0: the token of dev --ci"),
  ]);
});
