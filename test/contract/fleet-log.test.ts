/**
 * The fleet's log as a node reads it, in both ways: from the control plane by long polls, and from a NATS
 * stream. A real control plane, a real server; what stands between them is cut where a test says so.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { headers } from "@nats-io/transport-node";
import { systemClock } from "../../src/base/clock.ts";
import { BusLog } from "../../src/node/fleet/bus-log.ts";
import { ControlClient } from "../../src/node/fleet/control-client.ts";
import { ControlLog, type FleetLog, type LogAnswer } from "../../src/node/fleet/fleet-log.ts";
import type { FleetPosition } from "../../src/node/purge-log.ts";
import { type BusAccess, connectBus } from "../../src/service/bus/bus-connection.ts";
import { newLogKey, readSecretKey, signEntry } from "../../src/service/bus/bus-entry.ts";
import { busNames } from "../../src/service/bus/bus-names.ts";
import { makeAuthority } from "../kit/certificates.ts";
import { siteConfig, startTestControl, type TestControl } from "../kit/control.ts";
import { startNats, type TestNats } from "../kit/nats.ts";

let nats: TestNats;
let streams = 0;

beforeAll(async () => {
  nats = await startNats();
}, 30_000);
afterAll(async () => {
  await nats?.stop();
});

/** A control plane, and logs of nodes that read it. */
interface Setup {
  readonly control: TestControl;
  readonly access: BusAccess;
  log(): Promise<FleetLog>;
  purge(tag: string): Promise<number>;
  stop(): Promise<void>;
}

async function setUp(kind: "control plane" | "bus"): Promise<Setup> {
  const access: BusAccess = {
    servers: nats.urls,
    name: `test${++streams}`,
    credentials: null,
    token: null,
    user: null,
    ca: null,
  };
  const isBus = kind === "bus";
  const control = await startTestControl({
    realTime: true,
    ...(isBus ? { bus: () => ({ access, replicas: 1 }) } : {}),
  });
  await control.ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } });
  const joinNode = async (name: string) => {
    const { value } = await control.ask("POST", "/v1/join-tokens", {});
    const client = new ControlClient(control.url, null);
    const joined = await client.join(value.secret, name, "0.0.0-test");
    client.credential = joined.credential;
    return { client, key: joined.logKey ?? "" };
  };
  const logs: FleetLog[] = [];
  let nodes = 0;
  return {
    control,
    access,
    async log() {
      const { client, key } = await joinNode(`node-${++nodes}`);
      const log = isBus
        ? new BusLog({ access, key, clock: systemClock, tell: (text) => control.messages.push(text) })
        : new ControlLog(client);
      logs.push(log);
      return log;
    },
    async purge(tag) {
      const { status, value, text } = await control.ask("POST", "/v1/purges", {
        scope: "tag",
        site: "shop",
        tags: [tag],
      });
      if (status !== 201) throw new Error(text);
      return value.sequence;
    },
    async stop() {
      for (const log of logs) log.close();
      await control.stop();
    },
  };
}

/** The head, once the log can be read and has come as far as the control plane. */
async function headOf(
  log: FleetLog,
  control: TestControl,
): Promise<FleetPosition & { snapshot: number | null }> {
  const { head: newest, snapshot } = (await control.ask("GET", "/v1/changes/head")).value;
  for (let i = 0; ; i++) {
    const head = await log.head().catch((error: unknown) => {
      if (i > 400) throw error;
      return null;
    });
    if (head !== null && head.sequence >= newest && head.snapshot === snapshot) return head;
    if (i > 400) throw new Error(`the log stands at ${JSON.stringify(head)}, and not at ${newest}`);
    await Bun.sleep(20);
  }
}

const tagOf = ({ body }: LogAnswer["changes"][number]): string =>
  "targets" in body && Array.isArray(body.targets) ? String(body.targets[0]) : body.kind;

/** Reads until `count` entries are there. */
async function read(log: FleetLog, from: FleetPosition, count: number) {
  const entries: LogAnswer["changes"][number][] = [];
  let place: FleetPosition = from;
  while (entries.length < count) {
    const answer = await log.changes(place, 10);
    if (answer === null) throw new Error("the place is not there");
    if (answer.changes.length === 0) throw new Error(`${entries.length} of ${count} came`);
    entries.push(...answer.changes);
    const last = answer.changes.at(-1);
    if (last !== undefined) place = { log: answer.log, sequence: last.sequence, digest: last.digest };
  }
  return { entries, place };
}

for (const kind of ["control plane", "bus"] as const) {
  describe(`the fleet's log, read from the ${kind},`, () => {
    let setup: Setup;
    beforeAll(async () => {
      setup = await setUp(kind);
    }, 30_000);
    afterAll(async () => {
      await setup?.stop();
    });

    test("gives what follows a place, in order, with the numbers and digests of the control plane", async () => {
      const log = await setup.log();
      const start = await headOf(log, setup.control);
      const sequences: number[] = [];
      for (let i = 0; i < 30; i++) sequences.push(await setup.purge(`t${i}`));
      const { entries, place } = await read(log, start, 30);
      expect(entries.map(tagOf)).toEqual(sequences.map((_, i) => `t${i}`));
      expect(entries.map(({ sequence }) => sequence)).toEqual(sequences);
      expect(place).toEqual(
        (({ log, sequence, digest }) => ({ log, sequence, digest }))(await headOf(log, setup.control)),
      );
      const other = await setup.log();
      expect((await read(other, start, 30)).entries).toEqual(entries);
      const middle = entries[11];
      if (middle === undefined) throw new Error("there is no such entry");
      const from = { log: start.log, sequence: middle.sequence, digest: middle.digest };
      expect((await read(await setup.log(), from, 18)).entries).toEqual(entries.slice(12));
    }, 20_000);

    test("says at the end that there is nothing, after the wait and not before", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      expect(await log.changes(head, 0)).toMatchObject({ log: head.log, changes: [] });
      const startMs = performance.now();
      expect((await log.changes(head, 1))?.changes).toEqual([]);
      expect(performance.now() - startMs).toBeGreaterThan(900);
    }, 20_000);

    test("wakes who waits as soon as something comes", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      await log.changes(head, 0);
      const waiting = log.changes(head, 20);
      await Bun.sleep(200);
      const startMs = performance.now();
      await setup.purge("wake");
      expect((await waiting)?.changes.map(tagOf)).toEqual(["wake"]);
      expect(performance.now() - startMs).toBeLessThan(500);
    }, 30_000);

    test("has no place of another log, of another branch, or before its first entry", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      await setup.purge("beyond");
      const id = crypto.randomUUID();
      expect(await log.changes({ ...head, log: id }, 0)).toBeNull();
      expect(await log.changes({ ...head, digest: "0".repeat(32) }, 0)).toBeNull();
      expect(await log.changes({ ...head, sequence: 1, digest: "0".repeat(32) }, 0)).toBeNull();
    }, 20_000);

    test("gives snapshots by number, also large ones, and none that is not there", async () => {
      const log = await setup.log();
      const pad = (size: number) =>
        Object.fromEntries(
          Array.from({ length: size }, (_, i) => [
            `site${i}`,
            siteConfig(`${crypto.randomUUID()}.${crypto.randomUUID()}.test`),
          ]),
        );
      const { value } = await setup.control.ask("POST", "/v1/apply", {
        sites: { ...pad(4_000), shop: siteConfig("shop.test") },
      });
      const { number } = value.snapshot;
      for (let i = 0; (await headOf(log, setup.control)).snapshot !== number; i++) {
        if (i > 200) throw new Error("the snapshot does not come");
        await Bun.sleep(20);
      }
      const snapshot = await log.snapshot(number);
      expect(snapshot?.number).toBe(number);
      expect(Object.keys(snapshot?.sites ?? {})).toHaveLength(4_001);
      expect(await log.snapshot(number + 1)).toBeNull();
    }, 30_000);

    test("takes entries of 10,000 targets", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      const urls = Array.from({ length: 10_000 }, (_, i) => `http://shop.test/${"x".repeat(200)}/${i}`);
      const { status } = await setup.control.ask("POST", "/v1/purges", { scope: "url", site: "shop", urls });
      expect(status).toBe(201);
      await setup.purge("after");
      const { entries } = await read(log, head, 2);
      const [long, after] = entries;
      expect(long?.body).toMatchObject({ kind: "purge", targets: urls });
      expect(after === undefined ? null : tagOf(after)).toBe("after");
    }, 30_000);

    test("goes on after the control plane was restarted, in the same order", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      await setup.purge("before");
      await setup.control.restart();
      await setup.purge("behind");
      const reading = async () => {
        for (let i = 0; ; i++) {
          try {
            return (await read(log, head, 3)).entries.map(tagOf);
          } catch (error) {
            if (i > 50) throw error;
            await Bun.sleep(50);
          }
        }
      };
      expect(await reading()).toEqual(["before", "start", "behind"]);
    }, 30_000);

    test("is another branch after an older copy was put back: who is beyond it is told", async () => {
      const log = await setup.log();
      const { dataDir } = setup.control;
      await headOf(log, setup.control);
      await setup.control.restart((folder) => cpSync(folder, `${dataDir}-copy`, { recursive: true }));
      const lost = await setup.purge("lost");
      const head = await headOf(log, setup.control);
      for (let i = 0; (await headOf(log, setup.control)).sequence < lost && i < 200; i++) await Bun.sleep(20);
      const beyond = await headOf(log, setup.control);
      expect(beyond.sequence).toBeGreaterThanOrEqual(lost);
      await setup.control.restart((folder) => {
        rmSync(folder, { recursive: true });
        cpSync(`${dataDir}-copy`, folder, { recursive: true });
        rmSync(`${dataDir}-copy`, { recursive: true });
      });
      await setup.purge("new branch");
      let answer: LogAnswer | null | undefined;
      for (let i = 0; answer !== null && i < 200; i++) {
        answer = await log.changes(beyond, 0).catch(() => undefined);
        await Bun.sleep(20);
      }
      expect(answer).toBeNull();
      expect((await headOf(log, setup.control)).sequence).toBeGreaterThan(head.sequence);
    }, 30_000);

    test("ends what waits when it is closed", async () => {
      const log = await setup.log();
      const head = await headOf(log, setup.control);
      const waiting = log.changes(head, 20).then(
        () => "answered",
        () => "ended",
      );
      await Bun.sleep(50);
      log.close();
      expect(await waiting).toBe("ended");
    }, 20_000);
  });
}

describe("on the bus", () => {
  let setup: Setup;
  beforeAll(async () => {
    setup = await setUp("bus");
  }, 30_000);
  afterAll(async () => {
    await setup?.stop();
  });

  test("a node that comes when the control plane is gone gets everything that it needs", async () => {
    const own = await setUp("bus");
    const late = await own.log();
    const sequence = await own.purge("last");
    for (let i = 0; (await headOf(late, own.control)).sequence < sequence && i < 200; i++)
      await Bun.sleep(20);
    await own.control.stop();
    const head = await late.head();
    expect([head.sequence, head.snapshot]).toEqual([sequence, 1]);
    expect(Object.keys((await late.snapshot(1))?.sites ?? {})).toEqual(["shop"]);
    expect(await late.changes(head, 0)).toEqual({ log: head.log, changes: [], drained: null });
    late.close();
  }, 30_000);

  test("what somebody else has written is nothing, and the control plane writes on behind it", async () => {
    const log = await setup.log();
    const head = await headOf(log, setup.control);
    const names = busNames(setup.access.name);
    const stranger = await connectBus(setup.access, "stranger");
    const { secret } = readSecretKey(newLogKey().secret);
    const forged = {
      log: head.log,
      sequence: head.sequence + 1,
      acceptedMs: 0,
      before: head.digest,
      digest: "0".repeat(32),
      text: JSON.stringify({
        kind: "purge",
        id: "x",
        site: "shop",
        scope: "everything",
        targets: [],
        mode: "hard",
      }),
      pieces: null,
    };
    const put = (message: string | Uint8Array) => stranger.nats.request(names.logSubject, message);
    const old = await stranger.direct.getMessage(names.logStream, { last_by_subj: names.logSubject });
    await put("{}");
    await put(signEntry(forged, secret));
    await put(new Uint8Array([0xff, 0, 1]));
    // What was signed once and is said again changes nothing either.
    await put(old?.data ?? "");
    await stranger.nats.close();
    expect((await log.changes(head, 0))?.changes).toEqual([]);
    // Until the control plane is heard again nobody knows whether its key is another one now.
    expect(log.isDoubtful).toBe(true);
    await setup.purge("ours");
    expect((await read(log, head, 1)).entries.map(tagOf)).toEqual(["ours"]);
    expect(log.isDoubtful).toBe(false);
    expect((await read(await setup.log(), head, 1)).entries.map(tagOf)).toEqual(["ours"]);
    expect(setup.control.messages.join("\n")).toContain("has not signed");
  }, 30_000);

  test("what is said again under a number that it never had hides no entry", async () => {
    const log = await setup.log();
    const head = await headOf(log, setup.control);
    const names = busNames(setup.access.name);
    const stranger = await connectBus(setup.access, "stranger");
    const old = await stranger.direct.getMessage(names.logStream, { last_by_subj: names.logSubject });
    expect((await log.changes(head, 0))?.changes).toEqual([]);
    const waiting = log.changes(head, 3);
    // The server refuses it; who listens hears it all the same.
    const fields = headers();
    fields.set("Nats-Expected-Last-Sequence", String(old?.seq));
    fields.set("Nats-Expected-Stream", "another");
    const refusal = await stranger.nats.request(names.logSubject, old?.data ?? "", {
      headers: fields,
      timeout: 5_000,
    });
    expect(refusal.string()).toContain("expected stream does not match");
    await setup.purge("not hidden");
    expect((await waiting)?.changes.map(tagOf)).toEqual(["not hidden"]);
    await stranger.nats.close();
  }, 30_000);

  test("a second control plane, of another fleet, does not mix in", async () => {
    const log = await setup.log();
    const head = await headOf(log, setup.control);
    const other = await startTestControl({
      realTime: true,
      bus: () => ({ access: setup.access, replicas: 1 }),
    });
    try {
      for (let i = 0; !other.messages.join().includes("choose another name"); i++) {
        if (i > 200) throw new Error(other.messages.join("\n"));
        await Bun.sleep(20);
      }
      expect((await log.head()).sequence).toBe(head.sequence);
      const fed = async ({ ask }: TestControl) =>
        /^proxima_control_bus_fed \d$/m.exec((await ask("GET", "/metrics")).text)?.[0];
      expect([await fed(setup.control), await fed(other)]).toEqual([
        "proxima_control_bus_fed 1",
        "proxima_control_bus_fed 0",
      ]);
    } finally {
      await other.stop();
    }
  }, 20_000);

  test("a place that was read from the control plane is found, so that a fleet can change to a bus", async () => {
    const log = await setup.log();
    const head = await headOf(log, setup.control);
    const { value } = await setup.control.ask("POST", "/v1/join-tokens", {});
    const client = new ControlClient(setup.control.url, null);
    client.credential = (await client.join(value.secret, "over-https", "0.0.0-test")).credential;
    const place = await new ControlLog(client).head();
    expect(place).toEqual(head);
    await setup.purge("first on the bus");
    expect((await read(await setup.log(), place, 1)).entries.map(tagOf)).toEqual(["first on the bus"]);
    client.close();
  }, 20_000);
});

test("with the permissions that the documentation names nodes can read and not write, and the control plane can write", async () => {
  const page = await Bun.file(join(import.meta.dir, "../../docs/operating/fleet.md")).text();
  const line = page.split("\n").find((one) => one.startsWith("- **Permissions**")) ?? "";
  const [ofNode = "", ofControl = ""] = line.split("The control plane's:");
  const subjects = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, one = ""]) => one);
  const permissions = (text: string) => {
    const [publish = "", subscribe = ""] = text.split("subscribe");
    return `permissions: { publish: ${JSON.stringify(subjects(publish))}, subscribe: ${JSON.stringify(subjects(subscribe))} }`;
  };
  const users = [
    `{ user: node, password: n, ${permissions(ofNode.replace("`proxima`", ""))} }`,
    `{ user: control, password: c, ${permissions(ofControl)} }`,
  ];
  const server = await startNats(1, `authorization { users: [${users.join(", ")}] }`);
  const access = (name: string, password: string): BusAccess => ({
    servers: server.urls,
    name: "proxima",
    credentials: null,
    token: null,
    user: { name, password },
    ca: null,
  });
  const control = await startTestControl({
    realTime: true,
    bus: () => ({ access: access("control", "c"), replicas: 1 }),
  });
  try {
    await control.ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } });
    const { value } = await control.ask("POST", "/v1/join-tokens", {});
    const client = new ControlClient(control.url, null);
    const { logKey = "" } = await client.join(value.secret, "node", "0.0.0-test");
    client.close();
    const make = (user: BusAccess) =>
      new BusLog({ access: user, key: logKey, clock: systemClock, tell: () => {} });
    const log = make(access("node", "n"));
    const head = await headOf(log, control);
    expect(Object.keys((await log.snapshot(head.snapshot ?? 0))?.sites ?? {})).toEqual(["shop"]);
    const waiting = log.changes(head, 10);
    const urls = Array.from({ length: 5_000 }, (_, i) => `http://shop.test/${"x".repeat(100)}/${i}`);
    expect((await control.ask("POST", "/v1/purges", { scope: "url", site: "shop", urls })).status).toBe(201);
    expect((await waiting)?.changes).toHaveLength(1);
    const writer = await connectBus(access("node", "n"), "writer");
    const names = busNames("proxima");
    for (const subject of [
      names.logSubject,
      names.newestSnapshot,
      `$JS.API.STREAM.DELETE.${names.logStream}`,
    ])
      await expect(writer.nats.request(subject, "{}", { timeout: 1_000 })).rejects.toThrow(/permission/i);
    await writer.nats.close();
    log.close();
    const stranger = make(access("node", "wrong"));
    await expect(stranger.head()).rejects.toThrow(/authorization/i);
    stranger.close();
    expect(control.messages).toEqual([]);
  } finally {
    await control.stop();
    await server.stop();
  }
}, 30_000);

test("over TLS the servers are those whose authority is named, and no others", async () => {
  const folder = mkdtempSync(join(tmpdir(), "proxima-bus-tls-"));
  const authority = await makeAuthority();
  const { cert, key } = await authority.issue(["localhost", "127.0.0.1"]);
  writeFileSync(join(folder, "cert.pem"), cert);
  writeFileSync(join(folder, "key.pem"), key, { mode: 0o600 });
  const path = (name: string) => JSON.stringify(join(folder, name));
  const server = await startNats(1, `tls { cert_file: ${path("cert.pem")}, key_file: ${path("key.pem")} }`);
  const access = (ca: string | null): BusAccess => ({
    servers: server.urls.map((url) => url.replace("nats:", "tls:")),
    name: "proxima",
    credentials: null,
    token: null,
    user: null,
    ca,
  });
  try {
    const { nats: connection } = await connectBus(access(authority.pem), "test");
    expect(connection.info?.tls_required).toBe(true);
    await connection.close();
    const stranger = (await makeAuthority()).pem;
    for (const ca of [null, stranger])
      await expect(connectBus(access(ca), "test")).rejects.toThrow(/certificate|issuer|signature|verify/i);
    // Nor is it talked in the clear to one that speaks no TLS.
    const plain = { ...access(authority.pem), servers: nats.urls.map((url) => url.replace("nats:", "tls:")) };
    await expect(connectBus(plain, "test")).rejects.toThrow(/tls/i);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
