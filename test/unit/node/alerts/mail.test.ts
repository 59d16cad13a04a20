/** Alerts by mail, to a real server with STARTTLS, TLS and logins; and to chats. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";
import type { EmailChannelConfig } from "../../../../src/config/schema.ts";
import type { AlertChange } from "../../../../src/node/alerts/alert.ts";
import { EmailChannel } from "../../../../src/node/alerts/email.ts";
import type { Notification } from "../../../../src/node/alerts/message.ts";
import { SlackChannel } from "../../../../src/node/alerts/slack.ts";
import {
  makeAuthority,
  makeSelfSigned,
  type TestAuthority,
  type TestCertificate,
} from "../../../kit/certificates.ts";
import { alertsConfig } from "./kit.ts";

const PASSWORD = "s3cret-of-the-mail-user";
const change = (subject: string, summary: string, state: AlertChange["state"] = "firing"): AlertChange => ({
  state,
  sinceMs: Date.UTC(2026, 0, 1),
  atMs: Date.UTC(2026, 0, 1, 0, 12),
  condition: { kind: "errorRate", subject, severity: "critical", summary, details: {} },
});
const notification = (...changes: AlertChange[]): Notification => ({ id: "msg_1", node: "edge-1", changes });
const DOWN = notification(change("shop", "all is lost"));

let folder = "";
let authority: TestAuthority;
let certificate: TestCertificate;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "proxima-mail-"));
  authority = await makeAuthority();
  certificate = await authority.issue(["localhost"]);
  writeFileSync(join(folder, "ca.pem"), authority.pem);
  writeFileSync(join(folder, "password"), `${PASSWORD}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface Mail {
  readonly from: string;
  readonly to: string[];
  readonly text: string;
  readonly secure: boolean;
  readonly user: string | null;
}

/** A mail server on a free port. */
async function startMail(options: {
  tls: "starttls" | "implicit" | "none";
  certificate?: TestCertificate;
  login?: boolean;
  refuse?: string;
}) {
  const mails: Mail[] = [];
  const { cert, key } = options.certificate ?? certificate;
  const server = new SMTPServer({
    secure: options.tls === "implicit",
    ...(options.tls === "none" ? { disabledCommands: ["STARTTLS"], allowInsecureAuth: true } : {}),
    cert,
    key,
    authOptional: options.login !== true,
    logger: false,
    disableReverseLookup: true,
    onAuth({ username, password }, _session, done) {
      if (username === "ops" && password === PASSWORD) done(null, { user: username });
      else done(new Error("Invalid username or password"));
    },
    onRcptTo({ address }, _session, done) {
      if (address === options.refuse) done(Object.assign(new Error("no such user"), { responseCode: 550 }));
      else done();
    },
    onData(stream, session, done) {
      const pieces: Buffer[] = [];
      stream.on("data", (piece: Buffer) => pieces.push(piece));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: Buffer.concat(pieces).toString("utf8"),
          secure: session.secure,
          user: typeof session.user === "string" ? session.user : null,
        });
        done();
      });
    },
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const address = server.server.address();
  return { mails, port: typeof address === "object" && address !== null ? address.port : 0 };
}

/** A mail channel as a config makes it. */
function channel(port: number, smtp: object = {}, env: Record<string, string> = {}): EmailChannel {
  const { channels } = alertsConfig({
    channels: {
      mail: {
        email: ["ops@shop.example", "night@shop.example"],
        from: "edge@shop.example",
        smtp: { host: "localhost", port, caFile: join(folder, "ca.pem"), ...smtp },
      },
    },
  });
  return new EmailChannel(channels.mail as EmailChannelConfig, env);
}

describe("a mail", () => {
  test("goes over STARTTLS, with a login, to all recipients", async () => {
    const { mails, port } = await startMail({ tls: "starttls", login: true });
    await channel(port, { user: "ops", password: { file: join(folder, "password") } }).send(DOWN);
    expect(mails).toHaveLength(1);
    expect(mails[0]).toMatchObject({
      from: "edge@shop.example",
      to: ["ops@shop.example", "night@shop.example"],
      secure: true,
      user: "ops",
    });
    const text = mails[0]?.text ?? "";
    expect(text).toContain("From: Proxima <edge@shop.example>\r\n");
    expect(text).toContain("Subject: [FIRING] errorRate shop on edge-1\r\n");
    expect(text).toContain("Message-ID: <msg_1@shop.example>\r\n");
    expect(text).toContain("FIRING (critical): all is lost (since 2026-01-01T00:00:00Z)");
    expect(text).not.toContain(PASSWORD);
  });

  test("goes over TLS from the first byte", async () => {
    const { mails, port } = await startMail({ tls: "implicit" });
    await channel(port, { tls: "implicit" }).send(DOWN);
    expect(mails).toMatchObject([{ secure: true }]);
  });

  test("goes without TLS where that is asked for", async () => {
    const { mails, port } = await startMail({ tls: "none" });
    await channel(port, { tls: "none" }).send(DOWN);
    expect(mails).toMatchObject([{ secure: false }]);
  });

  test("can not be given more lines or fields by what an alert says", async () => {
    const { mails, port } = await startMail({ tls: "implicit" });
    await channel(port, { tls: "implicit" }).send(
      notification(change("x\r\nBcc: all@shop.example", "one\r\n.\r\nMAIL FROM:<x@y>\u2028two")),
    );
    const text = mails[0]?.text ?? "";
    expect(mails).toHaveLength(1);
    expect(mails[0]?.to).toHaveLength(2);
    expect(text).not.toMatch(/^Bcc:/m);
    expect(text).not.toMatch(/^MAIL FROM/m);
  });
});

describe("a mail server that is not as it should be", () => {
  const sent = (port: number, smtp: object = {}, env = {}) =>
    channel(port, smtp, env)
      .send(DOWN)
      .then(
        () => "sent",
        (error: Error) => error.message,
      );

  test("with a certificate that nobody vouches for gets neither login nor mail", async () => {
    const { mails, port } = await startMail({
      tls: "starttls",
      certificate: await makeSelfSigned(["localhost"]),
      login: true,
    });
    expect(await sent(port, { user: "ops", password: { env: "P" } }, { P: PASSWORD })).toMatch(
      /^failed: the mail server localhost:\d+ (did not agree on TLS|can not be reached)/,
    );
    expect(mails).toEqual([]);
  });

  test("with a certificate of another name gets nothing", async () => {
    const { mails, port } = await startMail({
      tls: "implicit",
      certificate: await authority.issue(["other.example"]),
    });
    expect(await sent(port, { tls: "implicit" })).toContain("failed: the mail server");
    expect(mails).toEqual([]);
  });

  test("without STARTTLS gets nothing", async () => {
    const { mails, port } = await startMail({ tls: "none" });
    expect(await sent(port)).toContain("did not agree on TLS");
    expect(mails).toEqual([]);
  });

  test("that refuses the login is told without the password", async () => {
    const { port } = await startMail({ tls: "starttls", login: true });
    const message = await sent(port, { user: "ops", password: { env: "P" } }, { P: "wrong-s3cret" });
    expect(message).toMatch(/refused the login \(535\)$/);
    expect(message).not.toContain("s3cret");
  });

  test("that refuses every recipient, or is not there, is told", async () => {
    const { port } = await startMail({ tls: "implicit", login: true });
    expect(await sent(port, { tls: "implicit" })).toMatch(/refused the sender or a recipient \(530\)$/);
    expect(await sent(1)).toMatch(/^failed: the mail server localhost:1 can not be reached \(\w+\)$/);
    expect(await sent(port, { user: "ops", password: { env: "GONE" } })).toBe(
      "needs GONE in the environment, which is not set",
    );
  });

  test("that takes some recipients only has taken the mail", async () => {
    const { mails, port } = await startMail({ tls: "implicit", refuse: "night@shop.example" });
    expect(await sent(port, { tls: "implicit" })).toBe("sent");
    expect(mails[0]?.to).toEqual(["ops@shop.example"]);
  });
});

describe("a chat", () => {
  test("gets one text, in which nothing makes a link or calls everybody", async () => {
    const bodies: unknown[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        bodies.push(await request.json());
        return new Response("ok");
      },
    });
    stops.push(() => server.stop(true));
    const chat = new SlackChannel(
      { slack: { env: "CHAT" } },
      { CHAT: `http://127.0.0.1:${server.port}/services/T0` },
    );
    await chat.send(
      notification(
        change("<!channel>", "a & b < c"),
        change("blog", "was bad", "resolved"),
        change("docs", "is still bad", "reminder"),
      ),
    );
    expect(bodies).toEqual([
      {
        text: [
          "*[FIRING] 3 alerts on edge-1*",
          "FIRING (critical): a &amp; b &lt; c (since 2026-01-01T00:00:00Z)",
          "RESOLVED (critical): was bad (it held for 12 minutes, from 2026-01-01T00:00:00Z)",
          "STILL FIRING (critical): is still bad (since 2026-01-01T00:00:00Z)",
        ].join("\n"),
      },
    ]);
    await chat.send(notification(change("<!channel>", "x")));
    expect(JSON.stringify(bodies[1])).toContain("errorRate &lt;!channel&gt; on edge-1");
    await chat.send(notification(...Array.from({ length: 30 }, (_, i) => change(`${i}`, `n${i}`))));
    expect(JSON.stringify(bodies[2])).toContain("n19 (since 2026-01-01T00:00:00Z)\\nand 10 more");
  });
});
