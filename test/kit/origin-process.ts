/** Origins as processes, which a test kills, halts and starts again on the same port. */
const MAIN = new URL("./fake-origin.ts", import.meta.url).pathname;

/** A started origin. */
export class OriginProcess {
  readonly name: string;
  port = 0;
  #child: Bun.Subprocess<"ignore", "pipe", "inherit"> | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** Starts it; on the port that it had before, if any. Resolves when it listens. */
  async start(): Promise<this> {
    const child = Bun.spawn([process.execPath, MAIN, String(this.port), this.name], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#child = child;
    const { value } = await child.stdout.getReader().read();
    this.port = Number(new TextDecoder().decode(value));
    if (!(this.port > 0)) throw new Error(`origin ${this.name} did not start`);
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** SIGKILL; resolves when the system has cleared it away. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
    this.#child = null;
  }

  /** It keeps its connections, takes new ones, and says nothing. */
  halt(): void {
    this.#child?.kill("SIGSTOP");
  }

  goOn(): void {
    this.#child?.kill("SIGCONT");
  }
}
