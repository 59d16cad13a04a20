/** A fleet of real processes on loopback: a control plane, edges, an origin that counts. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ControlAnswer } from "./control.ts";
import type { TestNats } from "./nats.ts";
import { type Program, type ProgramEnd, Programs } from "./program.ts";

/** A test that waits longer for something has failed, in milliseconds. */
const WAIT_MS_MAX = 15_000;

/** An edge of the fleet. */
export interface FleetEdge {
  readonly name: string;
  /** Its data directory. */
  readonly path: string;
  program: Program;
  http: string;
  control: string;
  get(
    path: string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: string; cache: string | null; cacheStatus: string }>;
  /** What its own API says of the fleet. */
  view(): Promise<{
    snapshot: number;
    applied: number;
    synced: boolean;
    drained: boolean;
    problem: string | null;
  }>;
  /** Starts it again on its data directory, after its end. */
  restart(argv?: readonly string[]): Promise<void>;
}

/** The processes of a fleet. */
export class TestFleet {
  readonly programs = new Programs();
  /** What the origin serves: the version in every body. */
  version = 1;
  /** Requests that reached the origin. */
  requests = 0;
  control: Program;
  url = "";
  token = "";
  readonly #nats: TestNats | null;
  readonly #origin: Bun.Server<undefined>;
  readonly #controlArgv: readonly string[];

  /** `controlArgv`: further options of the control plane. With `nats` the log goes over these servers. */
  constructor(controlArgv: readonly string[] = [], nats: TestNats | null = null) {
    this.#controlArgv = controlArgv;
    this.#nats = nats;
    this.#origin = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        this.requests++;
        const { pathname } = new URL(request.url);
        return new Response(`${pathname} v${this.version}`, {
          headers: {
            "cache-control": "max-age=3600",
            "surrogate-key": `all page${pathname.replaceAll("/", "-")}`,
            etag: `"${this.version}"`,
          },
        });
      },
    });
    this.control = this.#startControl("127.0.0.1:0");
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#origin.port}`;
  }

  /** Waits for the control plane and takes its first token. */
  async ready(): Promise<void> {
    [, this.url = ""] = await this.control.until(/api +(http:\/\/127\.0\.0\.1:\d+)\/v1/);
    [, this.token = ""] = await this.control.until(/token +(pxa_\S+)/);
  }

  /** Starts the control plane again on the same address and data directory. */
  async restartControl(): Promise<void> {
    this.control = this.#startControl(this.url.replace("http://", ""));
    await this.control.until(/api +http/);
  }

  ask(method: string, path: string, body?: unknown, token = this.token): Promise<ControlAnswer> {
    return askControl(this.url, token, method, path, body);
  }

  /** Runs a command with the first token. */
  run(...argv: string[]): Promise<ProgramEnd> {
    return this.programs.run(argv, { env: { PROXIMA_CONTROL_TOKEN: this.token } });
  }

  /** A site in front of the origin, for any host. */
  site(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return { hosts: ["*"], origins: { app: { url: this.origin } }, ...more };
  }

  /** Joins an edge that may reach loopback, where the origin is. */
  async edge(name: string, config: Readonly<Record<string, unknown>> = {}): Promise<FleetEdge> {
    const invited = await this.ask("POST", "/v1/join-tokens", {});
    const file = await this.programs.write(
      `${name}.json`,
      JSON.stringify({
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        workers: 1,
        dataDir: `./${name}`,
        permitted: { addresses: ["127.0.0.0/8"] },
        join: {
          control: this.url,
          name,
          ...(this.#nats === null ? {} : { nats: { servers: this.#nats.urls } }),
        },
        sites: {},
        ...config,
      }),
    );
    const start = (argv: readonly string[]) => this.programs.start(["edge", "--config", file, ...argv]);
    const edge: FleetEdge = {
      name,
      program: start(["--join", invited.value.secret]),
      http: "",
      control: "",
      async get(path, headers = {}) {
        const response = await fetch(edge.http + path, {
          headers,
          keepalive: false,
          redirect: "manual",
        } as RequestInit);
        return {
          status: response.status,
          body: await response.text(),
          cache: response.headers.get("x-cache"),
          cacheStatus: response.headers.get("cache-status") ?? "",
        };
      },
      async view() {
        const answer = await fetch(`${edge.control}/v1/snapshot`, { keepalive: false } as RequestInit);
        return ((await answer.json()) as { fleet: Awaited<ReturnType<FleetEdge["view"]>> }).fleet;
      },
      path: this.path(name),
      async restart(argv = []) {
        edge.program = start(argv);
        ({ http: edge.http, control: edge.control } = await edge.program.addresses());
      },
    };
    ({ http: edge.http, control: edge.control } = await edge.program.addresses());
    return edge;
  }

  /** Puts sites in force and waits until the edges have them. */
  async apply(sites: Readonly<Record<string, unknown>>, edges: readonly FleetEdge[]): Promise<number> {
    const { status, value, text } = await this.ask("POST", "/v1/apply", { sites });
    if (status !== 200) throw new Error(text);
    const number: number =
      value.snapshot?.number ?? (await this.ask("GET", "/v1/changes/head")).value.snapshot;
    for (const edge of edges)
      await until(`${edge.name} has snapshot ${number}`, async () => (await edge.view()).snapshot === number);
    return number;
  }

  /** Path of something in the folder of the programs. */
  path(...names: string[]): string {
    return join(this.programs.folder, ...names);
  }

  async stop(): Promise<void> {
    await this.programs.stop();
    await this.#origin.stop(true);
    if (existsSync(this.programs.folder)) throw new Error("the folder was left");
  }

  #startControl(address: string): Program {
    const servers = this.#nats?.urls.flatMap((url) => ["--nats", url]) ?? [];
    return this.programs.start([
      "control",
      "--listen",
      address,
      "--data-dir",
      "control",
      ...servers,
      "--nats-replicas",
      String(this.#nats?.urls.length ?? 1),
      ...this.#controlArgv,
    ]);
  }
}

/** Waits until something is so. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + WAIT_MS_MAX;
  while (!(await isSo())) {
    if (Date.now() > endMs) throw new Error(`it did not come to pass that ${what}`);
    await Bun.sleep(20);
  }
}

/** Asks a control plane's API with a token. */
export async function askControl(
  url: string,
  token: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<ControlAnswer> {
  const response = await fetch(url + path, {
    method,
    keepalive: false,
    headers: {
      authorization: `Bearer ${token}`,
      ...(method === "GET" ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  } as RequestInit);
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    value: text === "" ? null : JSON.parse(text),
  };
}
