/** The real clients of other CDNs, in a Node process that a test asks. */
import { join } from "node:path";

/** What came of a call. */
export interface ClientOutcome {
  // Tests look into what the clients give, or fail.
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are what is tested
  readonly value?: any;
  readonly error?: {
    readonly name: string;
    readonly code?: string;
    readonly status?: number;
    readonly message: string;
    readonly errors?: readonly { readonly code: number; readonly message: string }[];
    // biome-ignore lint/suspicious/noExplicitAny: the shapes are what is tested
    readonly body?: any;
    readonly retryAfter?: string;
  };
}

/** The process. */
export class VendorClients {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #waiting = new Map<number, (outcome: ClientOutcome) => void>();
  #calls = 0;

  constructor(env: Readonly<Record<string, string>> = {}, nodeOptions: readonly string[] = []) {
    this.#child = Bun.spawn(["node", ...nodeOptions, join(import.meta.dir, "vendor-clients.mjs")], {
      env: { ...process.env, NODE_NO_WARNINGS: "1", ...env },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#read();
  }

  /** Clients that ask their vendors' own hosts, which lead to a port on loopback, and trust an authority. */
  static takenOver(port: number, hosts: readonly string[], caFile: string): VendorClients {
    return new VendorClients(
      { TAKEOVER_HOSTS: hosts.join(","), TAKEOVER_PORT: String(port), NODE_EXTRA_CA_CERTS: caFile },
      ["--require", join(import.meta.dir, "takeover-preload.cjs")],
    );
  }

  /** Asks a client; resolves with what it gave or threw. */
  ask(client: string, call: Readonly<Record<string, unknown>>): Promise<ClientOutcome> {
    const id = ++this.#calls;
    const { promise, resolve } = Promise.withResolvers<ClientOutcome>();
    this.#waiting.set(id, resolve);
    this.#child.stdin.write(`${JSON.stringify({ id, client, call })}\n`);
    void this.#child.stdin.flush();
    return promise;
  }

  /** The same, and it must not throw. */
  async value(client: string, call: Readonly<Record<string, unknown>>) {
    const { value, error } = await this.ask(client, call);
    if (error !== undefined) throw new Error(`${client}: ${JSON.stringify(error)}`);
    return value;
  }

  async stop(): Promise<void> {
    this.#child.stdin.end();
    this.#child.kill();
    await this.#child.exited;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of this.#child.stdout) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { id, ...outcome } = JSON.parse(line) as ClientOutcome & { id: number };
        this.#waiting.get(id)?.(outcome);
        this.#waiting.delete(id);
      }
    }
    for (const done of this.#waiting.values())
      done({ error: { name: "Ended", message: "the clients' process ended" } });
  }
}
