"""Does an encoder keep the contract? Each promise as one check, with what was found and how to mend it."""
