"""All entries of the table of faults."""

import faults_compiled
import faults_derivatives
import faults_messages
import faults_state

FILES = (faults_derivatives, faults_compiled, faults_state, faults_messages)
ENTRIES = [entry for file in FILES for entry in file.ENTRIES]
