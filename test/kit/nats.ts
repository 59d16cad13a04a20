/** NATS servers with JetStream as processes on loopback: one, or a cluster of three. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const NATS = Bun.which("nats-server") ?? "/usr/sbin/nats-server";
/** A test that waits longer for a server has failed, in milliseconds. */
const START_MS_MAX = 20_000;

/** A server. */
export interface TestNatsServer {
  readonly name: string;
  readonly url: string;
  /** A signal to it, if it runs. */
  kill(signal: NodeJS.Signals): void;
  /** Kills it as a power failure would. */
  crash(): Promise<void>;
  /** Starts it again, on its data. */
  restart(): Promise<void>;
}

/** A set of servers. */
export interface TestNats {
  readonly servers: readonly TestNatsServer[];
  readonly urls: readonly string[];
  /** The server that leads a stream; null while there is none. */
  leaderOf(stream: string): Promise<TestNatsServer | null>;
  /** Resolves when every server answers and, in a cluster, a leader is there. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts `count` servers. `config` is put into the file of each. */
export async function startNats(count: 1 | 3 = 1, config = ""): Promise<TestNats> {
  const folder = mkdtempSync(join(tmpdir(), "proxima-nats-"));
  const ports = freePorts(3 * count);
  const routes = Array.from({ length: count }, (_, i) => `nats-route://127.0.0.1:${ports[3 * i + 1]}`);
  const servers = Array.from({ length: count }, (_, i) => {
    const [client = 0, route = 0, monitor = 0] = ports.slice(3 * i, 3 * i + 3);
    const name = `n${i + 1}`;
    const file = join(folder, `${name}.conf`);
    const text = [
      `server_name: ${name}`,
      `listen: 127.0.0.1:${client}`,
      `http: 127.0.0.1:${monitor}`,
      `jetstream { store_dir: ${JSON.stringify(join(folder, name))}, max_mem: 64M, max_file: 64G }`,
      ...(count === 1
        ? []
        : [`cluster { name: test, listen: 127.0.0.1:${route}, routes: ${JSON.stringify(routes)} }`]),
      config,
    ];
    return new Server(name, `127.0.0.1:${client}`, `http://127.0.0.1:${monitor}`, file, text.join("\n"));
  });
  const stop = async () => {
    await Promise.all(servers.map((one) => one.crash()));
    rmSync(folder, { recursive: true, force: true });
  };
  const nats: TestNats = {
    servers,
    urls: servers.map(({ url }) => url),
    async leaderOf(stream) {
      const connection = await connect({ servers: servers.map(({ url }) => url.replace("nats://", "")) });
      try {
        const manager = await jetstreamManager(connection, { timeout: 2_000 });
        const { cluster } = await manager.streams.info(stream);
        return servers.find(({ name }) => name === cluster?.leader) ?? null;
      } catch {
        return null;
      } finally {
        await connection.close();
      }
    },
    async ready() {
      for (const server of servers) await server.ready(count > 1);
    },
    stop,
  };
  try {
    for (const server of servers) await server.restart();
    await nats.ready();
  } catch (error) {
    await stop();
    throw error;
  }
  return nats;
}

class Server implements TestNatsServer {
  readonly name: string;
  readonly url: string;
  readonly #monitor: string;
  readonly #file: string;
  readonly #config: string;
  #child: Bun.Subprocess<"ignore", "ignore", "pipe"> | null = null;
  #err = "";

  constructor(name: string, address: string, monitor: string, file: string, config: string) {
    this.name = name;
    this.url = `nats://${address}`;
    this.#monitor = monitor;
    this.#file = file;
    this.#config = config;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async crash(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    child?.kill("SIGKILL");
    await child?.exited;
  }

  async restart(): Promise<void> {
    await Bun.write(this.#file, this.#config);
    const child = Bun.spawn([NATS, "-c", this.#file], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    this.#child = child;
    void (async () => {
      const decoder = new TextDecoder();
      for await (const piece of child.stderr)
        this.#err = (this.#err + decoder.decode(piece, { stream: true })).slice(-4_000);
    })().catch(() => undefined);
  }

  /** Resolves when it answers; in a cluster, when it is told of a leader. */
  async ready(clustered: boolean): Promise<void> {
    const endMs = Date.now() + START_MS_MAX;
    for (;;) {
      try {
        const response = await fetch(`${this.#monitor}/jsz`, { keepalive: false } as RequestInit);
        const view = (await response.json()) as { meta_cluster?: { leader?: string; cluster_size?: number } };
        if (!clustered || (view.meta_cluster?.leader ?? "") !== "") return;
      } catch {
        // Not yet.
      }
      if (Date.now() > endMs) throw new Error(`${this.name} does not start: ${this.#err}`);
      await Bun.sleep(30);
    }
  }
}

/** Ports that nothing listens on just now, all different. */
function freePorts(count: number): number[] {
  const held = Array.from({ length: count }, () =>
    Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } }),
  );
  const ports = held.map(({ port }) => port);
  for (const server of held) server.stop(true);
  return ports;
}
