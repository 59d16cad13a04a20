/**
 * Takes the member at a place out of a list in no order, in whose gap the last one then stands. Returns that
 * one, which is to be told its new place; null when it was the last itself.
 */
export function takeOut<Member>(list: Member[], place: number): Member | null {
  const last = list.pop();
  if (last === undefined || place === list.length) return null;
  list[place] = last;
  return last;
}
