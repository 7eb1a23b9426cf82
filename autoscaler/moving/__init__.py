"""What is moved as a whole: alarms between an Aodh and here, and the state of a deployment."""
