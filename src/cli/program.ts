/**
 * The command line: names, options and help of every command, and how each one fails. What a command does is
 * loaded when it runs: an edge serves in this process, and everything in it is in the way of its garbage collector.
 */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { messageOf } from "../base/errors.ts";
import { addressSet } from "../http/ip.ts";
import { addAlertCommand } from "./alert.ts";
import { addAuditCommand } from "./audit/command.ts";
import { type CiCommandOptions, ciOptions, refuseWithoutCi } from "./ci/options.ts";
import type { ControlOptions } from "./control.ts";
import { controlOption, controlsOption } from "./control-client.ts";
import { addDrillCommand } from "./drill.ts";
import type { EdgeOptions } from "./edge.ts";
import type { ExplainCommandOptions } from "./explain.ts";
import { EXIT, failureOf, UsageError } from "./failure.ts";
import { addFleetCommands } from "./fleet/commands.ts";
import { readNatsName, readNatsUrl, readReplicas } from "./nats-options.ts";
import { addListenOptions, edgeControlOption, type ListenOptions, readAddress } from "./options.ts";
import type { PurgeCommandOptions } from "./purge.ts";
import type { Program } from "./serve.ts";
import { addSimulateCommand } from "./simulate-command.ts";
import { addTakeoverCommand } from "./takeover-command.ts";
import { VERSION } from "./version.ts";
import { addWarmCommand } from "./warm/command.ts";

const EXIT_HELP = `
Exit status: 0 when all went well, 1 for an error while running, 2 for a wrong command line or config.`;

/** Runs the command line `argv` (without the program's name) and resolves with the exit status. Never rejects. */
export async function run(argv: readonly string[], program: Omit<Program, "command">): Promise<number> {
  const { io } = program;
  const command = ["proxima", ...argv].join(" ");
  try {
    await build({ ...program, command }).parseAsync([...argv], { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version end by this way too, with nothing wrong.
      if (error.exitCode === 0) return EXIT.ok;
      if (error.code !== "commander.help") io.err(failureOf(new UsageError(sentenceOf(error))).text);
      return EXIT.usage;
    }
    const { text, status } = failureOf(error);
    io.err(text);
    return status;
  } finally {
    await io.flush();
  }
}

/** "error: unknown command 'devv'\n(Did you mean dev?)" as one sentence. */
function sentenceOf(error: CommanderError): string {
  const [first = "", ...more] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = more.join(" ").replace(/^\(Did you mean (.*?)\?\)$/, "; did you mean $1 ?");
  return `${first.replace(/\.$/, "")}${suggestion}`;
}

function build(program: Program): Command {
  const { io } = program;
  const root = new Command("proxima")
    .description("A content delivery network that you run yourself.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help of a command")
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      // Errors are told once, in `run`; help that nobody asked for goes to standard error.
      writeErr: (text) => io.err(text),
      outputError: () => {},
      getOutHasColors: () => io.color,
      getErrHasColors: () => false,
    })
    .addHelpText(
      "after",
      `
Examples:
  $ proxima dev                          the edge in front of a built-in demo site
  $ proxima dev http://127.0.0.1:3000    in front of an application
  $ proxima dev ./public                 in front of a directory of files
  $ proxima config check proxima.config.ts
  $ proxima edge --config proxima.config.ts
  $ proxima explain https://shop.example/a.css
${EXIT_HELP}`,
    );

  // Subcommands inherit the settings above when they are made by `command`.
  const dev = addListenOptions(
    root
      .command("dev")
      .description("run an edge on this machine in front of one origin; it answers for any Host")
      .addArgument(new Argument("[origin]", "http(s) URL or directory; without it a built-in demo site")),
  );
  for (const option of ciOptions()) dev.addOption(option);
  dev
    .addHelpText(
      "after",
      `
Without options: http 127.0.0.1:8080, https 127.0.0.1:8443, control 127.0.0.1:8081 (a free port where one of
these is taken), data directory ./.proxima. An address without a host is on 127.0.0.1.

Examples:
  $ proxima dev http://127.0.0.1:3000
  $ proxima dev https://www.example.com --http :0 --no-http3
  $ proxima dev ./public --access-log -
  $ proxima dev http://127.0.0.1:3000 --ci --pops fra,nyc
  $ proxima dev http://127.0.0.1:3000 --ci --config proxima.config.ts --json
${EXIT_HELP}`,
    )
    .action(async (origin: string | undefined, options: ListenOptions & CiCommandOptions) => {
      if (options.ci === true) {
        const { ciCommand } = await import("./ci/command.ts");
        return ciCommand(origin, options, program);
      }
      refuseWithoutCi(options);
      const { devCommand } = await import("./dev.ts");
      return devCommand(origin, options, program);
    });

  addListenOptions(
    root
      .command("edge")
      .description("run an edge for the sites of a config file, or of a fleet; changes are taken up")
      .option("--config <FILE>", "the config: .ts, .js, .json or .yaml")
      .option("--join <TOKEN>", "join the fleet with this token, which is good once (or PROXIMA_JOIN_TOKEN)")
      .option("--name <NAME>", "name of this node in its fleet; left out, the host name"),
    edgeControlOption(),
  )
    .addHelpText(
      "after",
      `
Options stand above what the config says. SIGTERM drains, SIGHUP reads the config and opens the access log anew.
PROXIMA_CONTROL_TOKEN is the control listener's token; beyond loopback it needs one, and TLS.

Examples:
  $ proxima edge --config proxima.config.ts
  $ proxima edge --control https://control.example:8090 --join pxj_... --http :80
  $ proxima edge --config edge.yaml --http :80 --https :443 --cache-memory 2GiB --data-dir /var/lib/proxima
${EXIT_HELP}`,
    )
    .action(async (options: EdgeOptions) => {
      const { edgeCommand } = await import("./edge.ts");
      await edgeCommand(options, program);
    });

  root
    .command("control")
    .description("run the control plane of a fleet: sites, versions, tokens, purges, nodes")
    .addOption(
      new Option("--listen <HOST:PORT>", "address of the API; beyond loopback it needs TLS")
        .default({ hostname: "127.0.0.1", port: 8090 }, "127.0.0.1:8090")
        .argParser(readAddress),
    )
    .option("--data-dir <DIR>", "directory for what it keeps", "./.proxima-control")
    .option("--tls-cert <FILE>", "certificate chain (PEM)")
    .option("--tls-key <FILE>", "its private key (PEM)")
    .option("--name <HOST>", "a further host name by which it is asked; may be repeated", collect, [])
    .option(
      "--webhook-address <RANGE>",
      "addresses such as 10.0.0.0/8 that webhooks may lead to, beside public ones; may be repeated",
      readRange,
      [],
    )
    .addOption(
      new Option(
        "--storage <HOST:PORT>",
        "address of push storage (S3 and Bunny); left out, it is not listened for",
      ).argParser(readAddress),
    )
    .addOption(
      new Option(
        "--storage-s3 <URL>",
        "keep what is pushed in a bucket, https://ENDPOINT/BUCKET[/PREFIX], not in the data directory",
      ).argParser(bucketUrl),
    )
    .addOption(
      new Option(
        "--takeover <HOST:PORT>",
        "also answer for the hosts of Cloudflare, Fastly, CloudFront, Bunny and Akamai there",
      ).argParser(readAddress),
    )
    .option("--new-admin-token", "make a further token that may do everything, and print it")
    .option("--nats <URL>", "a NATS server to feed with the fleet's log; may be repeated", readNatsUrl, [])
    .option("--nats-stream <NAME>", "name of the fleet on the bus", readNatsName, "proxima")
    .option("--nats-replicas <N>", "copies of the log among the servers: 1, 3 or 5", readReplicas, 1)
    .option("--nats-credentials <FILE>", "NATS credentials (.creds)")
    .option("--nats-ca <FILE>", "authorities (PEM) to trust for the servers")
    .addHelpText(
      "after",
      `
The first start prints a token that may do everything, once. For NATS servers that ask for them PROXIMA_NATS_TOKEN,
or PROXIMA_NATS_USER and PROXIMA_NATS_PASSWORD, are taken.

Examples:
  $ proxima control
  $ proxima control --storage 127.0.0.1:8091
  $ proxima control --nats nats://127.0.0.1:4222
  $ proxima control --listen 0.0.0.0:8090 --tls-cert control.pem --tls-key control.key --name control.example
${EXIT_HELP}`,
    )
    .action(async (options: ControlOptions) => {
      const { controlCommand } = await import("./control.ts");
      await controlCommand(options, program);
    });

  const config = root.command("config").description("work with config files");
  config
    .command("check")
    .description("check a config file: what is wrong, where, and what was expected")
    .argument("<FILE>", "the config: .ts, .js, .json or .yaml")
    .addHelpText("after", `\nExample:\n  $ proxima config check proxima.config.ts\n${EXIT_HELP}`)
    .action(async (file: string) => {
      const { configCheckCommand } = await import("./config-check.ts");
      await configCheckCommand(file, io);
    });

  root
    .command("explain")
    .description("ask a running node what it would do with a request, and why")
    .argument("<URL>", "URL as a viewer asks for it")
    .addOption(controlOption())
    .addOption(
      new Option("--header <LINE>", "a header field 'Name: value'; may be repeated")
        .default([], "none")
        .argParser(readHeader),
    )
    .option("--method <METHOD>", "request method", undefined)
    .option("--json", "print the node's answer as JSON")
    .addHelpText(
      "after",
      `
PROXIMA_CONTROL_TOKEN is sent to a node that asks for a token.

Examples:
  $ proxima explain https://shop.example/a.css
  $ proxima explain http://localhost:8080/ --header 'Accept-Language: de' --header 'Cookie: cart=1'
  $ proxima explain https://shop.example/ --control 127.0.0.1:9081 --json
${EXIT_HELP}`,
    )
    .action(async (url: string, options: ExplainCommandOptions) => {
      const { explainCommand } = await import("./explain.ts");
      await explainCommand(url, options, io);
    });

  root
    .command("purge")
    .description(
      "tell a node or a fleet to forget what it holds; a node answers when nothing older is served any more",
    )
    .argument("[URL...]", "absolute URLs; every variant of each goes")
    .option(
      "--tag <TAG>",
      "everything the origin gave this tag (surrogate key); may be repeated",
      collect,
      [],
    )
    .option(
      "--prefix <PREFIX>",
      "paths that begin so: /blog/ or www.example.com/blog/; may be repeated",
      collect,
      [],
    )
    .option("--wildcard <PATTERN>", "paths that match: /blog/*.html; may be repeated", collect, [])
    .option("--host <HOST>", "everything of a host; may be repeated", collect, [])
    .option("--everything", "everything of the site")
    .option("--soft", "make it stale instead: it is revalidated, and may be served meanwhile")
    .addOption(
      new Option(
        "--wait [WHAT]",
        "in a fleet, wait until every node has applied it; counted: until it has counted",
      )
        .choices(["applied", "counted"])
        .preset("applied"),
    )
    .addOption(
      new Option("--timeout <SECONDS>", "longest wait in a fleet, 1 to 60; left out, 10").argParser(
        readSeconds,
      ),
    )
    .option("--site <ID>", "the site; may be left out where there is one")
    .addOption(controlsOption())
    .option("--json", "print the node's answer as JSON")
    .addHelpText(
      "after",
      `
PROXIMA_CONTROL_TOKEN is sent; a control plane always wants one. In a fleet every node is listed, and the status
is 1 when one of them could not be reached, or has not done what was waited for.

Examples:
  $ proxima purge --tag product-7 --control https://control.example:8090 --wait
  $ proxima purge https://shop.example/a.css https://shop.example/b.css
  $ proxima purge --tag product-7 --tag list --soft
  $ proxima purge --prefix /blog/ --wait
  $ proxima purge --everything --site shop
  $ proxima purge --tag product-7 --control shield.internal:8081 --control edge.internal:8081
${EXIT_HELP}`,
    )
    .action(async (urls: string[], options: PurgeCommandOptions) => {
      const { purgeCommand } = await import("./purge.ts");
      await purgeCommand(urls, options, io);
    });

  addFleetCommands(root, io, EXIT_HELP);
  addDrillCommand(root, io, EXIT_HELP);
  addWarmCommand(root, io, EXIT_HELP);
  addSimulateCommand(root, io, EXIT_HELP);
  addAuditCommand(root, io, EXIT_HELP);
  addAlertCommand(root, io, EXIT_HELP);
  addTakeoverCommand(root, io, EXIT_HELP);
  return root;
}

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

function readRange(range: string, before: readonly string[]): readonly string[] {
  try {
    addressSet([range]);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
  return [...before, range];
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (seconds < 1 || seconds > 60) throw new InvalidArgumentError("Expected a whole number from 1 to 60.");
  return seconds;
}

function readHeader(line: string, before: string[]): string[] {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*$/.test(line)) {
    throw new InvalidArgumentError("Expected 'Name: value'.");
  }
  return [...before, line];
}

function bucketUrl(text: string): URL {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) throw new InvalidArgumentError("Expected https://ENDPOINT/BUCKET[/PREFIX].");
  return url;
}
