"""Recorded exchanges, judged by the OpenAPI document, and what came of it."""

import collections

from conversations import read

SHOWN = 20  # complaints of one kind
LEAST = 100  # fewer answers than this are no recording of a suite


class Judge:
    """Counts what it sees; complaints by operation and status."""

    def __init__(self, document):
        self.document = document
        self.complaints = collections.defaultdict(list)
        self.counts = collections.Counter()
        self.seen = collections.Counter()     # (operation, status)
        self.elsewhere = collections.Counter()  # requests that are no operation
        self.unanswered = 0

    def judge(self, exchange):
        request, answer = exchange.request, exchange.answer
        found = None
        if request and request.method:
            path, query = request.path_and_query()
            found = self.document.find(request.method, path)
        if found is None:
            line = request.line if request else "(nothing was sent)"
            self.elsewhere[line[:70] + f" -> {answer.status}"] += 1
            self.counts["answers elsewhere"] += 1
            if request and request.method == "HEAD":
                return
            self.note(f"elsewhere, {answer.status}", exchange,
                      self.document.problem_complaints(answer))
            return
        self.counts["answers"] += 1
        self.seen[found.name, answer.status] += 1
        self.note(f"{found.name} answers {answer.status}", exchange,
                  self.document.response_complaints(found, answer))
        if answer.status >= 400 or request.body is None:
            return
        self.counts["requests"] += 1
        self.note(f"{found.name} was asked, and answered {answer.status}", exchange,
                  self.document.request_complaints(found, query, request.headers, request.body))

    def note(self, what, exchange, errors):
        self.complaints[what] += [f"{exchange.test}: {error}" for error in errors]

    def judge_all(self, recording):
        exchanges, self.unanswered = read(recording)
        for exchange in exchanges:
            self.judge(exchange)

    def unasked(self):
        """Operations that nobody asked for; HEAD is GET without its end."""
        operations = {found.name for found in self.document.operations()}
        asked = {name for name, _ in self.seen}
        return sorted(name for name in operations - asked if not name.startswith("HEAD "))

    def report(self, checks):
        for what, errors in sorted(self.complaints.items()):
            checks.check(what + ", as the document says", not errors, "\n    ".join(
                [f"{len(errors)} complaints", *errors[:SHOWN]]))
        checks.check("there is much to see", self.counts["answers"] > LEAST, self.counts)
        if self.elsewhere:
            print("requests that are no operation of the document, answered by a problem:")
        for line, count in sorted(self.elsewhere.items()):
            print(f"  {count:4} {ascii(line)[1:-1]}")
        print("operations and what they answered:")
        for name in sorted({name for name, _ in self.seen}):
            statuses = [f"{count} x {status}" for (of, status), count in sorted(self.seen.items())
                        if of == name]
            print(f"  {name}: " + ", ".join(statuses))
        print(f"validated: {self.counts['answers']} responses of described operations, "
              f"{self.counts['answers elsewhere']} problems elsewhere, {self.counts['requests']} "
              f"requests that were taken; {self.unanswered} requests got no answer, as their "
              "tests want it")
