/**
 * HTTP dates (RFC 9110 section 5.6.7): three formats are read, IMF-fixdate is written. Case does
 * not matter to a cache, any zone but GMT is invalid (RFC 9111 section 4.2). The day of the week
 * must be a day's name but is not checked against the date: it carries nothing.
 */

import { memoize } from "./memo.ts";

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;
const MONTH_INDEX: ReadonlyMap<string, number> = new Map(MONTHS.map((name, i) => [name.toLowerCase(), i]));

const MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)";
const TIME = "([0-9]{2}):([0-9]{2}):([0-9]{2})";
const IMF_FIXDATE = new RegExp(
  `^(?:sun|mon|tue|wed|thu|fri|sat), ([0-9]{2}) ${MONTH} ([0-9]{4}) ${TIME} gmt$`,
  "i",
);
const RFC_850 = new RegExp(
  `^(?:sun|mon|tues|wednes|thurs|fri|satur)day, ([0-9]{2})-${MONTH}-([0-9]{2}) ${TIME} gmt$`,
  "i",
);
const ASCTIME = new RegExp(
  `^(?:sun|mon|tue|wed|thu|fri|sat) ${MONTH} ([0-9]{2}| [0-9]) ${TIME} ([0-9]{4})$`,
  "i",
);

/**
 * Milliseconds since the Unix epoch; null when absent or not a valid date. `nowMs` only decides the
 * century of the obsolete two-digit years: at most 50 years ahead.
 */
export function parseHttpDate(value: string | null, nowMs?: number): number | null {
  if (value === null || value.length > 33) return null;
  const time = parseImfFixdate(value);
  if (time !== undefined) return time;
  let match = RFC_850.exec(value);
  if (match !== null) {
    const [, day, month, yearOfCentury, hour, minute, second] = match;
    const now = nowMs ?? Date.now();
    const yearNow = new Date(now).getUTCFullYear();
    const at = (century: number) =>
      timeOf(
        century + Number(yearOfCentury),
        month,
        Number(day),
        Number(hour),
        Number(minute),
        Number(second),
      );
    const ahead = new Date(now);
    ahead.setUTCFullYear(yearNow + 50);
    // The latest year with these digits that is not more than 50 years ahead.
    let century = Math.floor((yearNow + 50) / 100) * 100;
    let time = at(century);
    if (time === null || time > ahead.getTime()) {
      century -= 100;
      time = at(century);
    }
    return time;
  }
  match = ASCTIME.exec(value);
  if (match !== null) {
    const [, month, day, hour, minute, second, year] = match;
    return timeOf(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  }
  return null;
}

/** Of the format that nearly all use; undefined when it is not this one. An origin says the same Date many times a second. */
const parseImfFixdate = memoize(
  (value): number | null | undefined => {
    const match = IMF_FIXDATE.exec(value);
    if (match === null) return undefined;
    const [, day, month, year, hour, minute, second] = match;
    return timeOf(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  },
  256,
  33,
);

let lastSecond = Number.NaN;
let lastText = "";

/** IMF-fixdate of a time in milliseconds since the Unix epoch, cut to the second; years 0 to 9999. */
export function formatHttpDate(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second === lastSecond) return lastText;
  const date = new Date(second * 1000);
  const day = pad(date.getUTCDate());
  const time = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`;
  const year = String(date.getUTCFullYear()).padStart(4, "0");
  lastText = `${DAYS[date.getUTCDay()]}, ${day} ${MONTHS[date.getUTCMonth()]} ${year} ${time} GMT`;
  lastSecond = second;
  return lastText;
}

function timeOf(
  year: number,
  monthName: string | undefined,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number | null {
  const month = MONTH_INDEX.get(monthName?.toLowerCase() ?? "");
  // Second 60 is a leap second; it reads as the first of the next minute.
  if (month === undefined || hour > 23 || minute > 59 || second > 60 || day < 1) return null;
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  if (date.getUTCMonth() !== month) return null; // 31 Feb
  return date.setUTCHours(hour, minute, second);
}

function pad(n: number): string {
  return n < 10 ? `0${n}` : String(n);
}
