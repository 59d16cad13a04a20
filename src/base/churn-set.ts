/** A member's place in the order of a set. */
class Place<Member> {
  readonly member: Member;
  before: Place<Member> | null;
  after: Place<Member> | null = null;

  constructor(member: Member, before: Place<Member> | null) {
    this.member = member;
    this.before = before;
  }
}

/**
 * A set of objects that come and go in something long-lived, in the order they came; why not the engine's own
 * stands at `ChurnMap`. A member that is taken out is not held by anything here any more.
 */
export class ChurnSet<Member extends object> {
  /** Null while nobody is in it: each collection looks at every WeakMap that there is, and most sets may be empty. */
  #places: WeakMap<Member, Place<Member>> | null = null;
  #first: Place<Member> | null = null;
  #last: Place<Member> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that came first. */
  get first(): Member | undefined {
    return this.#first?.member;
  }

  /** Takes a member in, at the end; one that is in it stays where it is. */
  add(member: Member): void {
    const places = this.#places ?? new WeakMap<Member, Place<Member>>();
    if (places.has(member)) return;
    const place = new Place(member, this.#last);
    places.set(member, place);
    this.#places = places;
    if (this.#last === null) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.#size++;
  }

  /** Takes a member out; false when it was not in. */
  delete(member: Member): boolean {
    const place = this.#places?.get(member);
    if (place === undefined) return false;
    this.#places?.delete(member);
    if (place.before === null) this.#first = place.after;
    else place.before.after = place.after;
    if (place.after === null) this.#last = place.before;
    else place.after.before = place.before;
    // One that is old and dead would hold those that came after it.
    place.before = null;
    place.after = null;
    if (--this.#size === 0) this.#places = null;
    return true;
  }

  /** The members as they are now. */
  list(): Member[] {
    const members: Member[] = [];
    for (let place = this.#first; place !== null; place = place.after) members.push(place.member);
    return members;
  }
}
