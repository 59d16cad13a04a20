/** Alerts to people, by SMTP (docs/decisions/0011-alerts.md: why a library speaks it). */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { EmailChannelConfig } from "../../config/schema.ts";
import { type Channel, DeliveryError } from "./delivery.ts";
import { linesOf, type Notification, subjectOf } from "./message.ts";
import { type Environment, secretOf } from "./secret.ts";

const CONNECT_MS_MAX = 10_000;
const SILENCE_MS_MAX = 30_000;
const WHOLE_MS_MAX = 60_000;

/** What went wrong, by the library's code. Its messages hold what the server said, which is anybody's word. */
const SENTENCES: Readonly<Record<string, string>> = {
  EAUTH: "refused the login",
  ENOAUTH: "offers no login that can be used",
  ETLS: "did not agree on TLS",
  EREQUIRETLS: "did not agree on TLS",
  EENVELOPE: "refused the sender or a recipient",
  EMESSAGE: "refused the message",
  EPROTOCOL: "does not speak SMTP",
  ETIMEDOUT: "did not answer in time",
  EABORT: "did not answer in time",
  EDNS: "has no address",
};

/** Mail to a list of people. */
export class EmailChannel implements Channel {
  readonly kind = "email";
  readonly #config: EmailChannelConfig;
  readonly #env: Environment;

  constructor(config: EmailChannelConfig, env: Environment) {
    this.#config = config;
    this.#env = env;
  }

  async ready(): Promise<void> {
    const { password, caFile } = this.#config.smtp;
    if (password !== undefined) await secretOf(password, this.#env);
    if (caFile !== undefined) await caOf(caFile);
  }

  async send(notification: Notification): Promise<void> {
    const { email, from, smtp } = this.#config;
    const { host, port, tls, user } = smtp;
    const password = smtp.password === undefined ? undefined : await secretOf(smtp.password, this.#env);
    const ca = smtp.caFile === undefined ? undefined : await caOf(smtp.caFile);
    // Large, and of use to few: loaded when the first mail is sent.
    const { createTransport } = await import("nodemailer");
    const transport = createTransport({
      host: host.replace(/^\[|\]$/g, ""),
      port,
      secure: tls === "implicit",
      requireTLS: tls === "starttls",
      ignoreTLS: tls === "none",
      ...(user === undefined || password === undefined ? {} : { auth: { user, pass: password } }),
      tls: {
        minVersion: "TLSv1.2",
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(ca === undefined ? {} : { ca }),
      },
      connectionTimeout: CONNECT_MS_MAX,
      greetingTimeout: CONNECT_MS_MAX,
      socketTimeout: SILENCE_MS_MAX,
      disableFileAccess: true,
      disableUrlAccess: true,
      logger: false,
    });
    try {
      await transport.sendMail({
        from: { name: "Proxima", address: from },
        to: [...email],
        subject: subjectOf(notification),
        text: `${linesOf(notification).join("\n\n")}\n\nNode: ${notification.node}\n`,
        // The same for each attempt, so that a mail that was taken twice is known as one.
        messageId: `<${notification.id}@${from.split("@")[1] ?? "proxima"}>`,
        headers: { "Auto-Submitted": "auto-generated" },
        signal: AbortSignal.timeout(WHOLE_MS_MAX),
      });
    } catch (cause) {
      throw new DeliveryError(`failed: the mail server ${host}:${port} ${whyOf(cause)}`, { cause });
    } finally {
      transport.close();
    }
  }
}

async function caOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new DeliveryError(`needs the file ${path}, which can not be read`, { cause });
  }
}

function whyOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const status = error instanceof Error && "responseCode" in error ? ` (${Number(error.responseCode)})` : "";
  const known = Object.hasOwn(SENTENCES, code) ? SENTENCES[code] : undefined;
  return `${known ?? `can not be reached${/^\w{1,60}$/.test(code) ? ` (${code})` : ""}`}${status}`;
}
