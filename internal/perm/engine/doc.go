// Package engine answers permission questions over a schema and a snapshot of
// relationships: who may do what, on what, and why.
//
// A Model is a schema made ready; a View is a model, a snapshot, a time and
// perhaps a Cache. Check answers one question, LookupResources and
// LookupSubjects all questions of a kind, and agree with it: they return what
// Check says Yes or Conditional of. Expand and the traces of Check show how an
// answer comes about.
//
// What an answer means:
//
//   - It is yes if it follows from relationships, and from nothing else. So
//     cycles of relationships add nothing: a group that is only in itself has no
//     members. A permission that depends on its own exclusion, or lies behind too
//     many levels, is a DepthError.
//   - A relationship that has expired is not there. One with a caveat counts as
//     far as the caveat does; what is missing to tell makes the answer
//     Conditional, unless it does not matter.
//   - Those who have a member of an object have it: group:x#member has member of
//     group:x.
//   - A wildcard stands for every object of its type, also for those that nothing
//     names, and never for sets of subjects such as group:x#member.
//   - An arrow goes from an object to others, whether they are subjects by
//     themselves or with a relation. Over a wildcard it leads nowhere. Where the
//     target does not exist it gives nobody, which denies a.all(b), as does having
//     nothing to go to.
//   - What does not fit the schema is not there. A relationship fits if its
//     relation takes that kind of subject with exactly its caveat, or none, and
//     with an expiration or without, as it has one. Of several with the same
//     subject those count that fit. This holds wherever a relation is read, also
//     where an exclusion subtracts: a ban that does not fit bans nobody. Otherwise
//     a permission would deny what the relations that it is made of do not show,
//     and bringing the relationships in line with the schema would change answers.
//
// The package is pure. Models, views and caches may be shared by goroutines.
package engine
