/** Commands of push zones: push, releases, zones. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { FleetClient, type FleetOptions, shown, table } from "../fleet/client.ts";
import type { Io } from "../io.ts";
import { wholeOption } from "../option-values.ts";
import type { PushOptions } from "./push.ts";

type Shared = (command: Command, example: string) => Command;

const CONCURRENCY_MAX = 64;
const WAIT_SECONDS = 30;

/** Adds them. */
export function addPushCommands(root: Command, io: Io, shared: Shared): void {
  const collect = (value: string, before: readonly string[]): string[] => [...before, value];
  shared(
    root
      .command("push")
      .description("push a folder to a zone as a release, and make that what viewers get, in one step")
      .argument("<DIR>")
      .requiredOption("--zone <NAME>", "the zone")
      .option("--note <TEXT>", "why, for the list of releases", "")
      .option("--ignore <PATTERN>", "leave out what this matches (*, ?); may be repeated", collect, [])
      .addOption(wholeOption("--concurrency <N>", "most uploads at once", 8, CONCURRENCY_MAX))
      .option("--no-activate", "make the release, but leave viewers what they have")
      .addOption(
        new Option("--wait <SECONDS>", "how long to wait until every node shows it; 0 does not")
          .default(WAIT_SECONDS)
          .argParser(readSeconds),
      )
      .addOption(
        new Option("--edge <URL>", "ask this edge for what has changed, so that it has it; may be repeated")
          .default([], "none")
          .argParser((text: string, before: readonly URL[]) => [...before, readUrl(text)]),
      )
      .option("--host <HOST>", "the host that viewers name, for --edge"),
    "push ./public --zone web --edge http://edge1.example --host www.example",
  ).action(async (folder: string, options: PushOptions) => {
    const { pushCommand } = await import("./push.ts");
    await pushCommand(folder, options, io);
  });

  const releases = root.command("releases").description("work with the releases of a push zone");
  shared(
    releases.command("list").description("list the releases that are kept").argument("<ZONE>"),
    "releases list web",
  ).action(async (zone: string, options: FleetOptions) => {
    const items = await new FleetClient(options.control, io).all(`${pathOf(zone)}/releases?limit=500`);
    const rows = items.map((one) => [
      shown(one.number),
      one.current === true ? "yes" : "",
      shown(one.files),
      shown(one.bytes),
      shown(one.createdAt),
      shown(one.createdBy),
      shown(one.note),
    ]);
    io.out(
      options.json === true
        ? `${JSON.stringify(items, null, 2)}\n`
        : table(["release", "current", "files", "bytes", "made", "by", "note"], rows),
    );
  });
  const activate = async (options: FleetOptions, path: string): Promise<void> => {
    const client = new FleetClient(options.control, io);
    const answer = await client.ask({ method: "POST", path, body: {} });
    const { activationText, waitForPurges } = await import("./push.ts");
    const places = await waitForPurges(client, answer, WAIT_SECONDS);
    io.out(
      options.json === true
        ? `${JSON.stringify({ ...answer, ...places }, null, 2)}\n`
        : `${activationText(answer, places, io.color)}\n`,
    );
  };
  shared(
    releases
      .command("activate")
      .description("make a release that is kept what viewers get")
      .argument("<ZONE>")
      .argument("<RELEASE>", "its number", readNumber),
    "releases activate web 7",
  ).action((zone: string, number: number, options: FleetOptions) =>
    activate(options, `${pathOf(zone)}/releases/${number}/activate`),
  );
  shared(
    releases
      .command("rollback")
      .description("make the older release current that was so before")
      .argument("<ZONE>"),
    "releases rollback web",
  ).action((zone: string, options: FleetOptions) => activate(options, `${pathOf(zone)}/rollback`));

  const zones = root.command("zones").description("work with push zones");
  shared(zones.command("list").description("list push zones"), "zones list").action(
    async (options: FleetOptions) => {
      const items = await new FleetClient(options.control, io).all("/v1/zones");
      const rows = items.map((zone) => [
        shown(zone.name),
        shown(zone.site),
        shown(zone.release),
        shown(zone.files),
        shown(zone.bytes),
        Array.isArray(zone.shownBy) && zone.shownBy.length > 0 ? zone.shownBy.map(shown).join(" ") : "-",
      ]);
      io.out(
        options.json === true
          ? `${JSON.stringify(items, null, 2)}\n`
          : table(["zone", "site", "release", "files", "bytes", "shown by"], rows),
      );
    },
  );
  shared(
    zones
      .command("create")
      .description("make a push zone")
      .argument("<NAME>")
      .option("--site <ID>", "the only site that may show it")
      .option("--index <FILE>", "file that is served for a folder", "index.html")
      .option("--error-document <PATH>", "file that is served with 404")
      .option("--no-preposition", "nodes do not ask for new files ahead of viewers")
      .addOption(wholeOption("--keep <N>", "releases that are kept", 10, 1_000)),
    "zones create web --site shop --error-document 404.html",
  ).action(
    async (
      name: string,
      options: FleetOptions & {
        site?: string;
        index: string;
        errorDocument?: string;
        keep: number;
        preposition: boolean;
      },
    ) => {
      const zone = await new FleetClient(options.control, io).ask({
        method: "POST",
        path: "/v1/zones",
        body: {
          name,
          indexDocument: options.index,
          keepReleases: options.keep,
          preposition: options.preposition,
          ...(options.site === undefined ? {} : { site: options.site }),
          ...(options.errorDocument === undefined ? {} : { errorDocument: options.errorDocument }),
        },
      });
      io.out(
        options.json === true ? `${JSON.stringify(zone, null, 2)}\n` : `zone ${shown(zone.name)} is made\n`,
      );
    },
  );
  shared(
    zones
      .command("delete")
      .description("end a zone that no site shows, with all it holds")
      .argument("<NAME>"),
    "zones delete old",
  ).action(async (name: string, options: FleetOptions) => {
    await new FleetClient(options.control, io).ask({ method: "DELETE", path: pathOf(name) });
    io.out(options.json === true ? "{}\n" : `zone ${shown(name)} has ended\n`);
  });
}

function pathOf(zone: string): string {
  return `/v1/zones/${encodeURIComponent(zone)}`;
}

function readUrl(text: string): URL {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) throw new InvalidArgumentError("Expected http(s)://HOST:PORT.");
  return url;
}

function readNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}

function readSeconds(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) > 60) throw new InvalidArgumentError("Expected 0 to 60.");
  return Number(text);
}
